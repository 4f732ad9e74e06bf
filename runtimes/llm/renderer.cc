#include "runtimes/llm/renderer.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <optional>

#include "runtimes/include/dormouse.h"

namespace dormouse::llm {
namespace {

constexpr std::uint64_t memory_more = 256 << 20;

// A build that checks its memory takes many times as long, and no template is tried by it.
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr int times_as_long = 6;
#else
constexpr int times_as_long = 1;
#endif

// Of processor time. Tools take a millisecond or two for each KiB of them, by the processor, plain
// messages next to none. Reading a model's templates renders them many times over.
int limit_ms(std::size_t body_bytes, bool reads_templates) {
  constexpr int rendering_ms = 50, mebibyte_ms = 50, reading_ms = 1000;
  constexpr int kibibyte_ms = 4;
  constexpr std::size_t of_tools_kib = 512;
  const int limit = rendering_ms +
                    static_cast<int>(std::min(body_bytes >> 10, of_tools_kib)) * kibibyte_ms +
                    static_cast<int>(body_bytes >> 20) * mebibyte_ms;
  return limit * times_as_long + (reads_templates ? reading_ms : 0);
}

bool write_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool read_all(int socket, char* to, std::size_t size) {
  while (size > 0) {
    const ssize_t got = recv(socket, to, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

// A 64-bit length, and so many bytes.
bool send_message(int socket, std::string_view message) {
  const std::uint64_t size = message.size();
  return write_all(socket, {reinterpret_cast<const char*>(&size), sizeof size}) &&
         write_all(socket, message);
}

std::optional<std::string> receive_message(int socket) {
  std::uint64_t size = 0;
  if (!read_all(socket, reinterpret_cast<char*>(&size), sizeof size)) return std::nullopt;
  std::string message(size, '\0');
  if (!read_all(socket, message.data(), size)) return std::nullopt;
  return message;
}

void set_alarm(int milliseconds) {
  itimerval alarm{};
  alarm.it_value.tv_sec = milliseconds / 1000;
  alarm.it_value.tv_usec = milliseconds % 1000 * 1000;
  setitimer(ITIMER_PROF, &alarm, nullptr);  // Its signal ends the process.
}

// ---- in the process of its own

void confine() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPROF, SIG_DFL);
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + memory_more;
  const rlimit limit{bytes, bytes};
  setrlimit(RLIMIT_AS, &limit);
  const rlimit none{1, 1};  // sandbox/sandbox.h says why it is not 0.
  setrlimit(RLIMIT_CORE, &none);
}

Result<ChatPrompt> rendered(const ChatTemplates& templates, std::string_view body) {
  auto request = read_request("chat.completions", body);
  if (!request) return std::move(request).error();
  return templates.apply(*request);
}

void serve(const Model& model, const ChatTemplates* templates, const std::string& source,
           int socket) {
  std::unique_ptr<ChatTemplates> own;
  while (const auto body = receive_message(socket)) {
    set_alarm(limit_ms(body->size(), templates == nullptr));
    if (!own && templates == nullptr) {
      auto read = ChatTemplates::read(model, source);
      if (!read) return (void)send_message(socket, encode(std::move(read).error()));
      own = std::move(*read);
    }
    const std::string said = encode(rendered(own ? *own : *templates, *body));
    set_alarm(0);
    if (!send_message(socket, said)) return;
  }
}

}  // namespace

Result<> Renderer::start() {
  if (process_ != 0) return ok;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return system_error(Code::unavailable, "making a socket to the process that renders chats");
  }
  wire::Descriptor here(pair[0]), there(pair[1]);
  const pid_t process = fork();
  if (process < 0) {
    return system_error(Code::unavailable, "starting the process that renders chats");
  }
  if (process == 0) {
    (void)here.release();
    close(pair[0]);
    if (other_ >= 0) close(other_);
    if (dormouse_drop_capabilities() != 0) _exit(1);
    confine();
    serve(*model_, templates_, source_, pair[1]);
    _exit(0);
  }
  process_ = process;
  socket_ = std::move(here);
  return ok;
}

void Renderer::stop() {
  if (process_ == 0) return;
  kill(process_, SIGKILL);
  (void)ended();
}

// Why it is gone.
Error Renderer::ended() {
  int status = 0;
  pid_t waited = 0;
  do waited = waitpid(process_, &status, 0);
  while (waited < 0 && errno == EINTR);
  process_ = 0;
  socket_ = wire::Descriptor();
  const bool late = waited > 0 && WIFSIGNALED(status) &&
                    (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGKILL);
  return {Code::invalid_argument, late
                                      ? "messages: the model's chat template came to no end in time"
                                      : "messages: the model's chat template crashed"};
}

Result<std::string> Renderer::ask(std::string_view body, int patience_ms) {
  if (auto started = start(); !started) return std::move(started).error();
  if (!send_message(socket_.number(), body)) return ended();
  pollfd readable{socket_.number(), POLLIN, 0};
  // Its own limit counts the processor's time, of which it may get little.
  if (poll(&readable, 1, patience_ms) == 0) kill(process_, SIGKILL);
  auto said = receive_message(socket_.number());
  if (!said || said->empty()) return ended();
  return std::move(*said);
}

Result<ChatPrompt> Renderer::render(std::string_view body) {
  constexpr int slack = 40;
  auto said = ask(body, limit_ms(body.size(), templates_ == nullptr) * slack);
  if (!said) return std::move(said).error();
  return decode_chat_prompt(*said);
}

}  // namespace dormouse::llm
