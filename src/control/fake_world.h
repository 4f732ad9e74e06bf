// For tests: the control API over a platform in memory, asked as a server would ask it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "async/sim_clock.h"
#include "control/control.h"
#include "control/fakes.h"
#include "http/target.h"

namespace dormouse::control {

struct Reply {
  int status = 0;
  http::Fields fields;
  std::string body;
  json::value json() const { return json::parse(body); }
  std::string code() const { return std::string(json().at("error").at("code").as_string()); }
  std::string message() const { return std::string(json().at("error").at("message").as_string()); }
};

inline http::Request request_of(std::string method, std::string_view target, std::string body,
                                std::vector<std::pair<std::string, std::string>> fields) {
  http::Head head;
  head.method = std::move(method);
  const auto mark = std::min(target.find('?'), target.size());
  const auto parsed = http::parse_target(target);
  const bool is_plain = parsed && parsed->ambiguous == nullptr;  // Others are refused before.
  head.path = is_plain ? parsed->path : std::string(target.substr(0, mark));
  if (mark < target.size()) head.query = target.substr(mark + 1);
  for (const auto& [name, value] : fields) head.fields.add(name, value);
  http::Request request;
  request.head = std::make_shared<const http::Head>(std::move(head));
  request.body = http::Body(std::move(body));
  request.loopback = true;
  return request;
}

class World {
 public:
  explicit World(gateway::Keys accepted = {})
      : keys(std::move(accepted)), control(std::make_unique<Control>(deps())) {}
  ~World() { await(control->stop()); }

  // Asks as the router does. A stream is read to its end, or for as long as `reading`.
  Reply ask(http::Request request, Duration reading = std::chrono::hours(1)) {
    Reply reply;
    auto admitted = asked(*request.head)->admit(*request.head, request.loopback);
    if (auto* refusal = std::get_if<http::Response>(&admitted)) {
      await(read_all(std::move(*refusal), &reply, clock.now() + reading));
      return reply;
    }
    if (request.body.size() > std::get<http::Receiving>(admitted).body_bytes_max)
      return {.status = 413};
    await(ask_and_read(std::move(request), &reply, clock.now() + reading));
    return reply;
  }
  Reply get(std::string_view target) { return ask(request_of("GET", target, "", plain())); }
  Reply post(std::string_view target, std::string body) {
    return ask(request_of("POST", target, std::move(body), json_fields()));
  }

  template <class Work>
  void await(Work work) {
    bool done = false;
    auto finish = [&done](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);
      done = true;
    };
    asio::co_spawn(io, std::move(work), std::move(finish));
    int turns_left = 100'000;
    while (!done) {
      CHECK(turns_left-- > 0);
      clock.run_until(clock.now() + std::chrono::milliseconds(20));
      io.restart();
      if (!done) io.run_one_for(std::chrono::milliseconds(1));  // A thread may still be at it.
    }
  }

  static std::vector<std::pair<std::string, std::string>> plain() {
    return {{"Host", "localhost:8080"}};
  }
  static std::vector<std::pair<std::string, std::string>> json_fields() {
    return {{"Host", "localhost:8080"}, {"Content-Type", "application/json"}};
  }

  asio::io_context io;
  async::SimClock clock{io};
  FakeCatalog catalog;
  FakeSecrets secrets;
  FakeBlobs blobs;
  FakeFleet fleet{&clock};
  FakeLedger ledger;
  FakeLogs logs{&clock};
  FakeConversations conversations;
  gateway::Keys keys;
  std::unique_ptr<Control> control;

 private:
  Deps deps() {
    Deps all;
    all.executor = io.get_executor();
    all.clock = &clock;
    all.catalog = &catalog;
    all.secrets = &secrets;
    all.blobs = &blobs;
    all.fleet = &fleet;
    all.ledger = &ledger;
    all.logs = &logs;
    all.conversations = &conversations;
    all.keys = &keys;
    all.node = {"node-1", "0.1.0", "/data", "127.0.0.1:8080", "USD", clock.wall(), {1000, 1 << 30}};
    all.examine = [] {
      return std::vector<sandbox::Finding>{
          {sandbox::Finding::Grade::good, "runc 1.1.5", ""},
          {sandbox::Finding::Grade::missing, "CRIU", "no snapshots"}};
    };
    all.unpack = [](int zip) {
      const int to = ::memfd_create("unpacked", MFD_CLOEXEC | MFD_ALLOW_SEALING);
      write_unpacked(zip, to, apart_limits);
      const auto size = static_cast<std::uint64_t>(::lseek(to, 0, SEEK_END));
      return Unpacked::read(http::Body(to, 0, size));
    };
    return all;
  }

  // As the gateway tells them apart: a version of AWS Lambda's API begins with its day.
  http::Handler* asked(const http::Head& head) {
    if (head.path.starts_with("/20")) return control->lambda_api();
    return control.get();
  }

  asio::awaitable<void> ask_and_read(http::Request request, Reply* reply, TimePoint until) {
    http::Handler* const handler = asked(*request.head);
    auto response = co_await handler->handle(std::move(request));
    auto reading = read_all(std::move(response), reply, until);
    co_await std::move(reading);
  }

  asio::awaitable<void> read_all(http::Response response, Reply* reply, TimePoint until) {
    reply->status = response.status;
    reply->fields = response.fields;
    if (const auto* body = std::get_if<http::Body>(&response.body)) {
      reply->body = body->text();
      co_return;
    }
    const auto pieces = std::get<http::Pieces>(response.body);
    while (clock.now() < until) {
      auto piece = co_await pieces();
      if (!piece || !*piece) co_return;
      reply->body += **piece;
    }
  }
};

}  // namespace dormouse::control
