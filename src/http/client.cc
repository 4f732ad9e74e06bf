#include "http/client.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/beast/http.hpp>
#include <charconv>

#include "http/head.h"

namespace dormouse::http {
namespace {

namespace beast = boost::beast;

constexpr std::uint32_t head_bytes_max = 64 * 1024;
constexpr std::size_t body_bytes_max = std::size_t{1} << 30;  // Of one that is kept in memory.

Error went_away() {
  return {Code::unavailable, "the server closed the connection"};
}

struct Address {
  std::string host;
  std::string port;
  std::string authority;  // What Host says.
};

std::optional<Address> parse_url(std::string_view url) {
  constexpr std::string_view scheme = "http://";
  if (!url.starts_with(scheme)) return std::nullopt;
  url.remove_prefix(scheme.size());
  if (url.ends_with('/')) url.remove_suffix(1);
  const std::size_t colon = url.rfind(':');
  if (colon == std::string_view::npos || url.find_first_of("/?#@ ") != url.npos)
    return std::nullopt;
  std::string_view host = url.substr(0, colon);
  const std::string_view port = url.substr(colon + 1);
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || end != port.data() + port.size() || number == 0) return std::nullopt;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) return std::nullopt;
  return Address{std::string(host), std::string(port), std::string(url)};
}

// Also while there is always something to receive.
bool is_interrupted(const ClientRequest& request) {
  if (request.interrupt < 0) return false;
  pollfd polled{.fd = request.interrupt, .events = POLLIN, .revents = 0};
  return poll(&polled, 1, 0) > 0;
}

// A non-blocking socket, and how long to wait for it to make progress.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int number) : number_(number) {}
  Socket(Socket&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

  // Waits for any of `events`; gives those that came.
  Result<short> wait(short events, const ClientRequest& request) const {
    std::array<pollfd, 2> polled{{{.fd = number_, .events = events, .revents = 0},
                                  {.fd = request.interrupt, .events = POLLIN, .revents = 0}}};
    int ready;
    do {
      ready = poll(polled.data(), polled.size(), static_cast<int>(request.timeout.count()));
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) return system_error(Code::unavailable, "poll");
    if (ready == 0) return Error{Code::deadline_exceeded, "no progress in time"};
    if (polled[1].revents != 0) return Error{Code::cancelled, "interrupted"};
    return polled[0].revents;
  }

  // The server said or sent something while nothing was asked: not to be used again.
  bool is_stale() const {
    char byte;
    const ssize_t got = recv(number_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
  }

 private:
  int number_ = -1;
};

Result<Socket> connect_one(const addrinfo& address, const ClientRequest& request) {
  Socket socket(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return system_error(Code::unavailable, "socket");
  const int on = 1;
  setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(socket.number(), address.ai_addr, address.ai_addrlen) == 0) return socket;
  if (errno != EINPROGRESS) return system_error(Code::unavailable, "connect");
  if (auto ready = socket.wait(POLLOUT, request); !ready) return std::move(ready).error();
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return system_error(Code::unavailable, "connect", error);
  return socket;
}

Result<Socket> connect_to(const Address& address, const ClientRequest& request) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  if (error != 0) return Error{Code::unavailable, address.host + ": " + gai_strerror(error)};
  Result<Socket> socket = Error{Code::unavailable, "no address"};
  for (const addrinfo* one = found; one != nullptr && !socket; one = one->ai_next) {
    socket = connect_one(*one, request);
  }
  freeaddrinfo(found);
  if (!socket) return std::move(socket).error().during("connecting to " + address.authority);
  return socket;
}

Result<std::string> head_of(const ClientRequest& request, const std::string& authority) {
  std::string head = request.method + " " + request.target + " HTTP/1.1\r\n";
  if (!request.fields.find("host")) head += "Host: " + authority + "\r\n";
  const bool usually_has_body = request.method != "GET" && request.method != "HEAD";
  if (usually_has_body || !request.body.empty()) {
    head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  const bool is_line =
      is_token(request.method) && is_field_value(request.target) && !request.target.contains(' ');
  if (!is_line) return Error{Code::invalid_argument, "a method or target that cannot be sent"};
  for (const auto& [name, value] : request.fields.all()) {
    if (!is_token(name) || !is_field_value(value)) {
      return Error{Code::invalid_argument, "a header that cannot be sent: " + std::string(name)};
    }
    append_field(head, name, value);
  }
  return head + "\r\n";
}

using Parser = beast::http::response_parser<beast::http::buffer_body>;

// Reads one response from a socket. Beast reads it, so that client and server are two readings of
// the same RFC, and the tests of one are tests of the other.
class ResponseReader {
 public:
  ResponseReader(const Socket* socket, const ClientRequest* request, const Piece* piece)
      : socket_(socket), request_(request), piece_(piece) {}

  Result<ClientResponse> read() {
    do {  // Interim responses (1xx) come before the one that counts.
      start();
      while (!parser_->is_header_done()) {
        if (auto got = go_on(); !got) return std::move(got).error();
      }
    } while (parser_->get().result_int() < 200);
    while (!parser_->is_done()) {
      if (auto got = go_on(); !got) return std::move(got).error();
    }
    if (!give_body()) return Error{Code::cancelled, "hung up"};
    return head();  // Now with the trailers.
  }

  bool keep_alive() const { return parser_->keep_alive() && !saw_end_ && buffered_.empty(); }
  bool has_begun() const { return has_begun_; }

 private:
  void start() {
    parser_.emplace();
    parser_->header_limit(head_bytes_max);
    parser_->body_limit(boost::none);
    parser_->eager(true);
    if (request_->method == "HEAD") parser_->skip(true);
    provide_room();
  }

  void provide_room() {
    parser_->get().body().data = room_.data();
    parser_->get().body().size = room_.size();
    parser_->get().body().more = true;
  }

  ClientResponse head() const {
    ClientResponse response{.status = static_cast<int>(parser_->get().result_int())};
    for (const auto& field : parser_->get()) {
      response.fields.add(field.name_string(), field.value());
    }
    return response;
  }

  // False: the receiver wants no more.
  bool give_body() {
    const std::size_t size = room_.size() - parser_->get().body().size;
    if (size > 0 && !head_) head_ = head();
    const bool goes_on = size == 0 || (*piece_)(*head_, std::string_view(room_.data(), size));
    provide_room();
    return goes_on;
  }

  Result<> go_on() {
    auto got = step();
    const bool broke_off = !got && got.error().code != Code::cancelled && parser_->is_header_done();
    if (broke_off) return std::move(got).error().during("the answer broke off");
    return got;
  }

  // Parses what is there; receives more if that is not enough for anything.
  Result<> step() {
    beast::error_code failed;
    const std::size_t used = parser_->put(boost::asio::buffer(buffered_), failed);
    buffered_.erase(0, used);
    if (parser_->is_header_done() && parser_->get().result_int() >= 200 && !give_body()) {
      return Error{Code::cancelled, "hung up"};
    }
    const bool wants_more = failed == beast::http::error::need_more || (!failed && used == 0);
    if (failed == beast::http::error::need_buffer || (!failed && used > 0)) return ok;
    if (failed && !wants_more) {
      return Error{Code::unavailable, "a response that is not HTTP: " + failed.message()};
    }
    return receive();
  }

  Result<> receive() {
    std::array<char, 64 * 1024> bytes;
    for (;;) {
      if (is_interrupted(*request_)) return Error{Code::cancelled, "interrupted"};
      const ssize_t got = recv(socket_->number(), bytes.data(), bytes.size(), 0);
      if (got > 0) {
        has_begun_ = true;
        buffered_.append(bytes.data(), static_cast<std::size_t>(got));
        return ok;
      }
      if (got == 0) return end();
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return went_away();
      if (auto ready = socket_->wait(POLLIN, *request_); !ready) {
        return std::move(ready).error();
      }
    }
  }

  // The end of the connection may be the end of the body.
  Result<> end() {
    saw_end_ = true;
    if (!parser_->is_header_done() || !buffered_.empty()) return went_away();
    beast::error_code failed;
    parser_->put_eof(failed);
    if (failed) return went_away();
    return ok;
  }

  const Socket* socket_;
  const ClientRequest* request_;
  const Piece* piece_;
  std::optional<Parser> parser_;
  std::optional<ClientResponse> head_;
  std::array<char, 64 * 1024> room_;
  std::string buffered_;
  bool has_begun_ = false;
  bool saw_end_ = false;
};

class TcpClient final : public Client {
 public:
  explicit TcpClient(Address address) : address_(std::move(address)) {}

  Result<ClientResponse> send(const ClientRequest& request) override {
    std::string body;
    bool fits = true;
    const Piece keep = [&](const ClientResponse&, std::string_view bytes) {
      fits = body.size() + bytes.size() <= body_bytes_max;
      if (fits) body.append(bytes);
      return fits;
    };
    auto response = stream(request, keep);
    if (!fits) return Error{Code::too_large, "a response of more than 1 GiB"};
    if (response) response->body = std::move(body);
    return response;
  }

  Result<ClientResponse> stream(const ClientRequest& request, const Piece& piece) override {
    const auto head = head_of(request, address_.authority);
    if (!head) return head.error();
    const bool may_repeat = request.method == "GET" || request.method == "HEAD";
    for (;;) {
      if (socket_ && socket_.is_stale()) socket_ = Socket();
      const bool is_reused = static_cast<bool>(socket_);
      if (!is_reused) {
        auto socket = connect_to(address_, request);
        if (!socket) return std::move(socket).error();
        socket_ = *std::move(socket);
      }
      bool has_begun = false;
      auto response = exchange(*head, request, piece, &has_begun);
      // The server may have closed an idle connection while the request was on its way.
      const bool was_stale = !response && response.error().code == Code::unavailable && is_reused &&
                             !has_begun && may_repeat;
      if (!was_stale) return response;
    }
  }

 private:
  // The connection is kept only if all went well.
  Result<ClientResponse> exchange(const std::string& head, const ClientRequest& request,
                                  const Piece& piece, bool* has_begun) {
    Socket socket = std::move(socket_);
    socket_ = Socket();
    const auto sent = send_all(socket, head, request);
    if (!sent) return sent.error();
    ResponseReader reader(&socket, &request, &piece);
    auto response = reader.read();
    *has_begun = reader.has_begun();
    if (response && reader.keep_alive() && *sent) socket_ = std::move(socket);
    return response;
  }

  // Gives whether all was sent: not if the server answered before, which refuses the rest.
  static Result<bool> send_all(const Socket& socket, std::string_view head,
                               const ClientRequest& request) {
    std::string_view body = request.body;
    while (!head.empty() || !body.empty()) {
      iovec parts[] = {{const_cast<char*>(head.data()), head.size()},
                       {const_cast<char*>(body.data()), body.size()}};
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = 2;
      const ssize_t sent = sendmsg(socket.number(), &message, MSG_NOSIGNAL);
      if (sent >= 0) {
        const auto bytes = static_cast<std::size_t>(sent);
        const std::size_t of_head = std::min(head.size(), bytes);
        head.remove_prefix(of_head);
        body.remove_prefix(bytes - of_head);
        continue;
      }
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) return false;  // It may have said why.
      if (errno != EAGAIN && errno != EWOULDBLOCK) return system_error(Code::unavailable, "send");
      const auto ready = socket.wait(POLLIN | POLLOUT, request);
      if (!ready) return ready.error();
      if ((*ready & POLLIN) != 0) return false;
    }
    return true;
  }

  Address address_;
  Socket socket_;
};

}  // namespace

Result<std::unique_ptr<Client>> connect(std::string_view url) {
  auto address = parse_url(url);
  if (!address) {
    return Error{Code::invalid_argument,
                 "not a URL like http://127.0.0.1:8080: " + std::string(url)};
  }
  return std::make_unique<TcpClient>(*std::move(address));
}

}  // namespace dormouse::http
