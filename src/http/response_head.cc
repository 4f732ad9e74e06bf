#include "http/response_head.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <ctime>

#include "http/head.h"

namespace dormouse::http {
namespace {

constexpr std::string_view owned[] = {
    "connection", "content-length", "date",    "keep-alive",
    "te",         "trailer",        "upgrade", "transfer-encoding"};

constexpr std::uint32_t owned_sizes = [] {
  std::uint32_t sizes = 0;
  for (const std::string_view one : owned) sizes |= 1U << one.size();
  return sizes;
}();

bool is_owned(std::string_view name) {
  const bool fits = name.size() < 32 && (owned_sizes >> name.size() & 1) != 0;
  return fits && std::ranges::any_of(
                     owned, [&](std::string_view one) { return equals_ignoring_case(name, one); });
}

void append_number(std::string& out, std::uint64_t number) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), end);
}

void append_framing(std::string& out, const Framing& framing) {
  switch (framing.kind) {
    case Framing::Kind::none:
    case Framing::Kind::until_close: break;
    case Framing::Kind::sized:
      out.append("Content-Length: ");
      append_number(out, framing.size);
      out.append("\r\n");
      break;
    case Framing::Kind::chunked: append_field(out, "Transfer-Encoding", "chunked"); break;
  }
  if (!framing.connection.empty()) append_field(out, "Connection", framing.connection);
  if (!framing.upgrade.empty()) append_field(out, "Upgrade", framing.upgrade);
}

}  // namespace

std::string_view reason(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 499: return "Client Closed Request";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "";  // The phrase is optional; the space before it is not.
  }
}

bool may_be_sent(int status, const Fields& fields) {
  if (status < 200 || status > 599) return false;
  return std::ranges::all_of(fields.all(), [](const auto& field) {
    return is_token(field.first) && is_field_value(field.second);
  });
}

void append_head(std::string& out, int status, const Fields& fields, const Framing& framing,
                 std::string_view date) {
  out.append("HTTP/1.1 ");
  append_number(out, static_cast<std::uint64_t>(status));
  out.append(" ").append(reason(status)).append("\r\n");
  append_field(out, "Date", date);
  append_framing(out, framing);
  append_fields(out, fields);
  out.append("\r\n");
}

void append_fields(std::string& out, const Fields& fields) {
  const auto is_ours = [](const auto& field) { return is_owned(field.first); };
  if (std::ranges::none_of(fields.all(), is_ours)) {
    out.append(fields.lines());
    return;
  }
  for (const auto& [name, value] : fields.all()) {
    if (!is_owned(name)) append_field(out, name, value);
  }
}

void append_chunk_size(std::string& out, std::uint64_t size) {
  std::array<char, 16> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), size, 16).ptr;
  out.append(digits.data(), end).append("\r\n");
}

// Trailers that cannot be sent are left out: the head that could have said so is long gone.
void append_last_chunk(std::string& out, const Fields& trailers) {
  out.append("0\r\n");
  if (may_be_sent(200, trailers)) append_fields(out, trailers);
  out.append("\r\n");
}

bool may_have_body(int status) {
  return status >= 200 && status != 204 && status != 304;
}

std::string http_date(WallTime time) {
  const std::time_t seconds = time.unix_ms / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 40> text{};
  // The daemon never calls setlocale(), so the names are English.
  const std::size_t size =
      std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text.data(), size};
}

}  // namespace dormouse::http
