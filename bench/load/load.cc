// A closed loop of HTTP clients, and how long each request took.
//
//   bench_load --port P --path PATH [--connections C] [--requests N] [--warm-up N]
//              [--body FILE] [--type TYPE] [--until-stopped]
//
// Each connection sends its next request when the last was answered: a stall delays what would have
// come meanwhile instead of counting against it (coordinated omission), so the percentiles say how
// long an answer took and not how long a client that keeps to a timetable would wait.
//
// Prints one line of JSON; times are in microseconds. Exits with 1 if any answer was not a 200.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::bench {
namespace {

using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t stopped = 0;

struct Wanted {
  std::uint16_t port = 0;
  std::string path = "/";
  std::size_t connections = 1;
  std::size_t requests = 1000;
  std::size_t warm_up = 0;
  std::string body_file;
  std::string type = "text/plain";
  bool until_stopped = false;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::string request_of(const Wanted& wanted) {
  std::string body(100, 'x');
  if (!wanted.body_file.empty()) {
    std::ifstream file(wanted.body_file, std::ios::binary);
    if (!file) die(wanted.body_file.c_str());
    body.assign(std::istreambuf_iterator<char>(file), {});
  }
  return "POST " + wanted.path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + wanted.type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

int connect_to(std::uint16_t port) {
  const int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(made, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) die("connect");
  const int on = 1;
  setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return made;
}

// One connection and the request it is at. Small requests leave with one system call; of large ones
// the rest leaves as the socket takes it.
struct Client {
  int socket = -1;
  Clock::time_point began{};
  std::size_t sent = 0;
  std::string in;
};

class Load {
 public:
  explicit Load(const Wanted& wanted) : wanted_(wanted), request_(request_of(wanted)) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    clients_.resize(wanted.connections);
    left_ = wanted.warm_up + wanted.requests;
    took_.reserve(left_);
    for (Client& each : clients_) {
      each.socket = connect_to(wanted.port);
      watch(each, EPOLL_CTL_ADD, EPOLLIN);
    }
  }

  void run() {
    for (Client& each : clients_) begin(each);
    epoll_event events[64];
    while (running_ > 0) {
      const int ready = epoll_wait(epoll_, events, 64, -1);
      for (int i = 0; i < ready; ++i) {
        Client& which = *static_cast<Client*>(events[i].data.ptr);
        if ((events[i].events & EPOLLOUT) != 0) send_rest(which);
        if ((events[i].events & ~std::uint32_t{EPOLLOUT}) != 0) receive(which);
      }
    }
  }

  int report() {
    const std::chrono::duration<double> whole = Clock::now() - counting_since_;
    std::ranges::sort(took_);
    const auto at = [this](double share) {
      if (took_.empty()) return 0.0;
      const auto place = share * static_cast<double>(took_.size() - 1);
      return took_[static_cast<std::size_t>(place)];
    };
    std::printf(
        "{\"requests\": %zu, \"failed\": %zu, \"rps\": %.1f, \"p50\": %.2f, \"p90\": %.2f, "
        "\"p99\": %.2f, \"max\": %.2f}\n",
        took_.size(), failed_, static_cast<double>(took_.size()) / whole.count(), at(0.5), at(0.9),
        at(0.99), at(1));
    return failed_ == 0 ? 0 : 1;
  }

 private:
  void watch(Client& which, int operation, std::uint32_t events) {
    epoll_event event{.events = events, .data = {.ptr = &which}};
    if (epoll_ctl(epoll_, operation, which.socket, &event) != 0) die("epoll_ctl");
  }

  void begin(Client& which) {
    if (stopped != 0 || (!wanted_.until_stopped && left_ == 0)) return;
    if (left_ > 0) --left_;
    ++running_;
    which.sent = 0;
    which.in.clear();
    which.began = Clock::now();
    send_rest(which);
  }

  void send_rest(Client& which) {
    const ssize_t went = send(which.socket, request_.data() + which.sent,
                              request_.size() - which.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (went < 0 && errno != EAGAIN) die("send");
    const bool waited = which.sent > 0;
    if (went > 0) which.sent += static_cast<std::size_t>(went);
    if (which.sent < request_.size()) {
      which.sent = std::max<std::size_t>(which.sent, 1);
      watch(which, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    } else if (waited) {
      watch(which, EPOLL_CTL_MOD, EPOLLIN);
    }
  }

  void receive(Client& which) {
    const ssize_t got = recv(which.socket, buffer_, sizeof(buffer_), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) die("the server closed the connection");
    which.in.append(buffer_, static_cast<std::size_t>(got));
    if (!whole(which.in)) return;
    note(which);
    --running_;
    begin(which);
  }

  static bool whole(std::string_view in) {
    const auto end = in.find("\r\n\r\n");
    if (end == in.npos) return false;
    std::size_t length = 0;
    for (std::size_t line = 0; line < end; line = in.find("\r\n", line) + 2) {
      constexpr std::string_view name = "content-length:";
      if (strncasecmp(in.data() + line, name.data(), name.size()) == 0) {
        length = std::strtoul(in.data() + line + name.size(), nullptr, 10);
      }
    }
    return in.size() >= end + 4 + length;
  }

  void note(const Client& which) {
    const auto now = Clock::now();
    if (answered_++ == wanted_.warm_up) counting_since_ = which.began;
    if (!which.in.starts_with("HTTP/1.1 200")) {
      if (failed_++ == 0) std::fprintf(stderr, "%.300s\n", which.in.c_str());
    }
    if (answered_ <= wanted_.warm_up) return;
    took_.push_back(std::chrono::duration<double, std::micro>(now - which.began).count());
  }

  const Wanted wanted_;
  const std::string request_;
  int epoll_ = -1;
  std::vector<Client> clients_;
  std::vector<double> took_;
  std::size_t left_ = 0, running_ = 0, answered_ = 0, failed_ = 0;
  Clock::time_point counting_since_{};
  char buffer_[256 << 10];
};

}  // namespace
}  // namespace dormouse::bench

int main(int count, char** arguments) {
  dormouse::bench::Wanted wanted;
  CLI::App app("A closed loop of HTTP clients");
  app.add_option("--port", wanted.port)->required();
  app.add_option("--path", wanted.path);
  app.add_option("--connections", wanted.connections)->check(CLI::Range(1, 1000));
  app.add_option("--requests", wanted.requests);
  app.add_option("--warm-up", wanted.warm_up);
  app.add_option("--body", wanted.body_file);
  app.add_option("--type", wanted.type);
  app.add_flag("--until-stopped", wanted.until_stopped, "Go on until SIGTERM");
  CLI11_PARSE(app, count, arguments);
  std::signal(SIGTERM, [](int) { dormouse::bench::stopped = 1; });
  const auto load = std::make_unique<dormouse::bench::Load>(wanted);
  load->run();
  return load->report();
}
