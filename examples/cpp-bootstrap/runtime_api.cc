#include "runtime_api.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace lambda {
namespace {

constexpr std::size_t head_bytes_max = 64 << 10;
constexpr std::string_view base = "/2018-06-01/runtime/";

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "runtime API: %s\n", why.c_str());
  std::exit(1);
}

[[noreturn]] void die_of_errno(const char* doing) {
  die(std::string(doing) + ": " + std::strerror(errno));
}

std::size_t number(std::string_view digits, int radix) {
  std::size_t value = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stopped, wrong] = std::from_chars(digits.data(), end, value, radix);
  if (wrong != std::errc() || stopped != end) die("not a length: " + std::string(digits));
  return value;
}

std::string hex(std::size_t value) {
  char text[17];
  return {text, std::to_chars(text, text + sizeof text, value, 16).ptr};
}

std::string error_document(std::string_view type, std::string_view message) {
  return "{\"errorType\":" + quoted(type) + ",\"errorMessage\":" + quoted(message) + "}";
}

std::string base64(std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view three = bytes.substr(i, 3);
    unsigned bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (k < three.size() ? static_cast<unsigned char>(three[k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += k <= three.size() ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

std::string path_of(const Invocation& call, const char* verb) {
  return std::string(base) + "invocation/" + call.id + "/" + verb;
}

void say_if_refused(const Response& response) {
  if (response.status < 300) return;
  std::fprintf(stderr, "runtime API: refused with %d: %s\n", response.status,
               response.body.c_str());
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.append("\\").push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else {
      out += c;
    }
  }
  return out += '"';
}

// ---- HTTP ----

std::string_view Response::field(std::string_view name) const {
  for (std::size_t at = head.find("\r\n"); at + 2 < head.size();) {
    const std::size_t begin = at + 2;
    at = head.find("\r\n", begin);
    if (at == std::string::npos) break;
    std::string_view line = std::string_view(head).substr(begin, at - begin);
    const std::size_t colon = line.find(':');
    if (colon != name.size() || ::strncasecmp(line.data(), name.data(), colon) != 0) continue;
    line.remove_prefix(colon + 1);
    const std::size_t first = line.find_first_not_of(" \t");
    return first == line.npos ? "" : line.substr(first, line.find_last_not_of(" \t") + 1 - first);
  }
  return {};
}

Connection::Connection() {
  const char* const address = std::getenv("AWS_LAMBDA_RUNTIME_API");
  if (address == nullptr) die("AWS_LAMBDA_RUNTIME_API is not set: deploy this, do not start it");
  const std::string_view text = address;
  const std::size_t colon = text.rfind(':');
  host_ = text.substr(0, colon);
  port_ = colon == text.npos ? "80" : text.substr(colon + 1);
}

void Connection::open() {
  if (socket_ >= 0) return;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(number(port_, 10)));
  if (::inet_pton(AF_INET, host_.c_str(), &to.sin_addr) != 1) die("no IPv4 address: " + host_);
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket_ < 0) die_of_errno("socket");
  const int now = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
  while (::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    if (errno != EINTR) die_of_errno("connect");
  }
}

void Connection::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
  received_.clear();
}

void Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) die_of_errno("send");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool Connection::fill() {
  char bytes[16 << 10];
  for (;;) {
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) die_of_errno("recv");
    received_.append(bytes, static_cast<std::size_t>(size));
    return size > 0;
  }
}

std::string Connection::take(std::size_t size) {
  while (received_.size() < size) {
    if (!fill()) die("the answer ended in the middle");
  }
  std::string taken = received_.substr(0, size);
  received_.erase(0, size);
  return taken;
}

std::string Connection::take_line() {
  std::size_t end = 0;
  while ((end = received_.find("\r\n")) == received_.npos) {
    if (received_.size() > head_bytes_max || !fill()) die("a line without an end");
  }
  std::string line = take(end + 2);
  line.resize(end);
  return line;
}

std::string Connection::take_chunks() {
  std::string body;
  for (;;) {
    const std::string line = take_line();
    const std::size_t size = number(std::string_view(line).substr(0, line.find(';')), 16);
    if (size == 0) break;
    body += take(size);
    if (!take_line().empty()) die("a chunk that is longer than it says");
  }
  while (!take_line().empty()) {  // Trailers.
  }
  return body;
}

void Connection::begin(std::string_view method, std::string_view path, std::string_view fields) {
  open();
  std::string head(method);
  head.append(" ").append(path).append(" HTTP/1.1\r\nHost: ").append(host_).append("\r\n");
  send(head.append(fields).append("\r\n"));
}

Response Connection::receive() {
  Response response;
  do {
    std::size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == received_.npos) {
      if (received_.size() > head_bytes_max || !fill()) die("no answer");
    }
    response.head = take(end + 4);
    if (!response.head.starts_with("HTTP/1.")) die("an answer that is not HTTP");
    response.status = static_cast<int>(number(std::string_view(response.head).substr(9, 3), 10));
  } while (response.status < 200);  // "100 Continue" and the like.

  const std::string_view length = response.field("Content-Length");
  if (response.field("Transfer-Encoding") == "chunked") {
    response.body = take_chunks();
  } else if (!length.empty()) {
    response.body = take(number(length, 10));
  } else if (response.status != 204) {
    while (fill()) {  // Up to its end.
    }
    response.body = std::exchange(received_, {});
    close();
  }
  if (response.field("Connection") == "close") close();
  return response;
}

Response Connection::ask(std::string_view method, std::string_view path, std::string_view fields,
                         std::string_view body) {
  const std::string length = "Content-Length: " + std::to_string(body.size()) + "\r\n";
  begin(method, path, std::string(fields) + (method == "GET" ? "" : length));
  send(body);
  return receive();
}

// ---- the Runtime API ----

Invocation Runtime::next() {
  Response response = connection_.ask("GET", std::string(base) + "invocation/next", "", "");
  if (response.status != 200) die("next: " + std::to_string(response.status) + " " + response.body);
  Invocation call;
  call.id = response.field("Lambda-Runtime-Aws-Request-Id");
  call.content_type = response.field("Content-Type");
  const std::size_t deadline = number(response.field("Lambda-Runtime-Deadline-Ms"), 10);
  call.deadline += std::chrono::milliseconds(deadline);
  call.body = std::move(response.body);
  return call;
}

void Runtime::answer(const Invocation& call, std::string_view type, std::string_view body) {
  const std::string fields = "Content-Type: " + std::string(type) + "\r\n";
  say_if_refused(connection_.ask("POST", path_of(call, "response"), fields, body));
}

void Runtime::fail(const Invocation& call, std::string_view type, std::string_view message) {
  const std::string fields = "Content-Type: application/json\r\n";
  say_if_refused(
      connection_.ask("POST", path_of(call, "error"), fields, error_document(type, message)));
}

void Runtime::begin_stream(const Invocation& call, std::string_view type) {
  connection_.begin("POST", path_of(call, "response"),
                    "Content-Type: " + std::string(type) +
                        "\r\nTransfer-Encoding: chunked\r\n"
                        "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
                        "Trailer: Lambda-Runtime-Function-Error-Type, "
                        "Lambda-Runtime-Function-Error-Body\r\n");
}

void Runtime::write(std::string_view piece) {
  if (piece.empty()) return;  // A chunk of nothing is the end.
  connection_.send(hex(piece.size()) + "\r\n" + std::string(piece) + "\r\n");
}

void Runtime::end_stream() {
  connection_.send("0\r\n\r\n");
  say_if_refused(connection_.receive());
}

void Runtime::break_stream(std::string_view type, std::string_view message) {
  connection_.send("0\r\nLambda-Runtime-Function-Error-Type: " + std::string(type) +
                   "\r\nLambda-Runtime-Function-Error-Body: " +
                   base64(error_document(type, message)) + "\r\n\r\n");
  say_if_refused(connection_.receive());
}

void fail_to_begin(std::string_view type, std::string_view message) {
  Connection connection;
  say_if_refused(connection.ask("POST", std::string(base) + "init/error",
                                "Content-Type: application/json\r\n",
                                error_document(type, message)));
  std::exit(1);
}

}  // namespace lambda
