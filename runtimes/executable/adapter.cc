#include "runtimes/executable/adapter.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "runtimes/executable/bootstrap.h"
#include "runtimes/include/dormouse.h"

namespace dormouse::executable {
namespace {

namespace fs = std::filesystem;

}  // namespace

int Adapter::run() {
  child_ended_ = ends_of_children();
  if (!child_ended_ || !say_hello()) return 1;
  auto loaded = wire::await_load(receiver_);
  if (!loaded) return loaded.error().code == Code::unavailable ? 0 : wire::protocol_broken;
  if (!*loaded) return 0;
  options_ = std::move(**loaded);
  if (const auto begun = begin(); !begun) return wire_.tell_init_failed(begun.error());
  return serve();
}

bool Adapter::say_hello() {
  wire::Hello hello{.runtime = "executable", .runtime_version = "2018-06-01"};
  if (!command_.empty()) {
    fcntl(wire_.socket(), F_SETFD, FD_CLOEXEC);
    auto booted = Interpreter::boot(command_);
    if (!booted) {
      std::fprintf(stderr, "worker: %s\n", booted.error().message.c_str());
      return false;
    }
    hello = {.runtime = fs::path(command_.front()).filename(),
             .runtime_version = booted->version()};
    interpreter_ = std::move(*booted);
  }
  wire_.post(wire::Type::hello, 0, wire::encode(hello));
  return wire_.flush().has_value();
}

Result<> Adapter::begin() {
  api_.emplace(&wire_, &options_, interpreter_.has_value());
  auto clients = Clients::open(usual_port, &*api_);
  if (!clients) return std::move(clients).error();
  clients_ = std::move(*clients);
  const auto option = options_.find("template");
  const bool may_fork = option != options_.end() && option->second == "yes";
  if (!may_fork && dormouse_drop_capabilities() != 0) {
    return system_error(Code::unavailable, "giving up capabilities");
  }
  if (const auto started = start_program(); !started) return started;
  // Only the program itself may become a template.
  if (may_fork && dormouse_drop_capabilities() != 0) {
    return system_error(Code::unavailable, "giving up capabilities");
  }
  return ok;
}

Result<> Adapter::start_program() {
  const Surroundings given{options_, clients_->port(), wire_.socket()};
  if (interpreter_) {
    child_ = interpreter_->process();
    return interpreter_->become(given);
  }
  const auto child = start_bootstrap(given);
  if (!child) return child.error();
  child_ = *child;
  return ok;
}

int Adapter::serve() {
  for (;;) {
    if (const auto status = turn()) return leave(*status);
  }
}

std::optional<int> Adapter::turn() {
  // Of a wire that may be the program's, only the end is waited for, which reads nothing.
  short on_wire = hears_ ? POLLIN : 0;
  if (wire_.has_more()) on_wire |= POLLOUT;
  std::vector<pollfd> polled{{child_ended_.number(), POLLIN, 0}, {wire_.socket(), on_wire, 0}};
  const std::size_t own = polled.size();
  clients_->add_to(polled);
  if (poll(polled.data(), polled.size(), -1) < 0) return std::nullopt;

  if (hears_ && polled[1].revents != 0) {
    if (const auto status = hear()) return status;
  }
  // What the program has said comes before its end: an answer may be its last word.
  clients_->go_on(std::span(polled).subspan(own));
  if (!hears_ && api_->serves()) {
    fcntl(wire_.socket(), F_SETFL, fcntl(wire_.socket(), F_GETFL) | O_NONBLOCK);
    hears_ = true;
  }
  if (!wire_.flush()) return 0;
  if (!hears_ && (polled[1].revents & (POLLHUP | POLLERR)) != 0) return 0;
  if (draining_ && !api_->has_calls()) return 0;
  return polled[0].revents != 0 ? status_of(child_, child_ended_) : std::nullopt;
}

// All frames that are there.
std::optional<int> Adapter::hear() {
  for (;;) {
    auto frame = receiver_.receive();
    if (!frame) return frame.error().code == Code::unavailable ? 0 : wire::protocol_broken;
    if (!*frame) return std::nullopt;
    if ((*frame)->header.type == wire::Type::drain) {
      draining_ = true;
    } else if (const auto obeyed = api_->obey(**frame); !obeyed) {
      std::fprintf(stderr, "worker: %s\n", obeyed.error().message.c_str());
      return wire::protocol_broken;
    }
  }
}

int Adapter::leave(int status) {
  kill(-child_, SIGKILL);
  return status;
}

}  // namespace dormouse::executable
