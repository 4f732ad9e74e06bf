#include "http/head.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>

#include "base/ascii.h"
#include "http/target.h"

namespace dormouse::http {
namespace {

constexpr std::size_t method_bytes_max = 20;

constexpr bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_alphanumeric(char c) {
  return is_upper(c) || (c >= 'a' && c <= 'z') || is_digit(c);
}
constexpr char lower(char c) {
  return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr auto token_bytes = [] {
  std::array<bool, 256> allowed{};
  for (unsigned i = 0; i < allowed.size(); ++i) {
    const char c = static_cast<char>(i);
    allowed[i] = is_alphanumeric(c) || (i != 0 && std::string_view("!#$%&'*+-.^_`|~").contains(c));
  }
  return allowed;
}();

constexpr auto value_bytes = [] {
  std::array<bool, 256> allowed{};
  for (unsigned i = 0; i < allowed.size(); ++i) allowed[i] = (i >= 0x20 && i != 0x7F) || i == '\t';
  return allowed;
}();

// Looks at all of it, for nearly all of what is asked about is good.
bool all_in(const std::array<bool, 256>& allowed, std::string_view text) {
  unsigned good = 1;
  for (const char c : text) good &= static_cast<unsigned>(allowed[static_cast<unsigned char>(c)]);
  return good != 0;
}

// Of eight bytes at once: whether surely none is below 0x20, and none 0x7F.
bool are_no_controls(std::uint64_t eight) {
  constexpr std::uint64_t ones = 0x0101'0101'0101'0101, tops = ones * 0x80;
  const std::uint64_t of_delete = eight ^ ones * 0x7F;
  const std::uint64_t below = (eight - ones * 0x20) & ~eight;
  const std::uint64_t deleted = (of_delete - ones) & ~of_delete;
  return ((below | deleted) & tops) == 0;
}

// Of eight bytes at once: whether all are letters or '-', which most of a name is.
bool are_letters(std::uint64_t eight) {
  constexpr std::uint64_t ones = 0x0101'0101'0101'0101, tops = ones * 0x80;
  const std::uint64_t lowered = (eight | ones * 0x20) & ~tops;
  const std::uint64_t from_a = lowered + ones * (0x80 - 'a');
  const std::uint64_t behind_z = lowered + ones * (0x80 - 'z' - 1);
  const std::uint64_t no_dash = ((eight ^ ones * '-') & ~tops) + ones * 0x7F;
  return (((from_a & ~behind_z) | ~no_dash) & ~eight & tops) == tops;
}

// Eight bytes at a time, the last of which overlap: `surely` is never wrong about a yes.
bool all_in(const std::array<bool, 256>& allowed, bool (*surely)(std::uint64_t),
            std::string_view text) {
  std::uint64_t eight;
  if (text.size() < sizeof(eight)) return all_in(allowed, text);
  for (std::size_t at = 0;; at = std::min(at + sizeof(eight), text.size() - sizeof(eight))) {
    std::memcpy(&eight, text.data() + at, sizeof(eight));
    if (!surely(eight) && !all_in(allowed, text.substr(at, sizeof(eight)))) return false;
    if (at + sizeof(eight) == text.size()) return true;
  }
}

// Cuts the first line off `rest`, which consists of whole lines; gives it without its CRLF. A line
// that does not end in CRLF gives one that no reader of lines accepts.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return line.ends_with('\r') ? line.substr(0, line.size() - 1) : std::string_view("\n");
}

Accepted<std::monostate> read_field(std::string_view line, Fields& fields, bool is_request) {
  if (line.starts_with(' ') || line.starts_with('\t')) return refuse("a folded header line");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return refuse("a header line without a colon");
  const std::string_view name = line.substr(0, colon);
  if (!is_token(name)) return refuse("a header name with a byte that may not be in one");
  // Content_Length and Content-Length are one variable to CGI and WSGI. Refused, not dropped, so
  // that the sender learns of it.
  if (is_request && name.contains('_')) return refuse("a header name with '_': use '-'");
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (!is_field_value(value)) return refuse("a control byte in a header");
  fields.add(name, value);
  return {};
}

Accepted<std::monostate> read_fields(std::string_view raw, Fields& fields, std::size_t fields_max,
                                     bool is_request = true) {
  while (!raw.empty()) {
    const std::string_view line = take_line(raw);
    if (fields.size() == fields_max) return refuse("too many headers", 431);
    if (auto r = read_field(line, fields, is_request); !r) return r;
  }
  return {};
}

Accepted<std::uint64_t> parse_content_length(std::string_view text) {
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  const bool is_number = !text.empty() && is_digit(text[0]) && end == text.data() + text.size();
  if (!is_number || error != std::errc{}) return refuse("a Content-Length that is not a number");
  if (text.size() > 1 && text[0] == '0') return refuse("a Content-Length with leading zeros");
  if (length > INT64_MAX) return refuse("a Content-Length beyond 63 bits");
  return length;
}

bool is_port(std::string_view text) {
  return text.size() <= 5 && std::ranges::all_of(text, is_digit);
}

// RFC 3986's host, and perhaps a port: what Host holds.
bool is_authority(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    const auto allowed = [](char c) {
      return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f') || c == ':' || c == '.';
    };
    if (!std::ranges::all_of(text.substr(1, close - 1), allowed)) return false;
    const std::string_view rest = text.substr(close + 1);
    return rest.empty() || (rest.starts_with(':') && is_port(rest.substr(1)));
  }
  const std::size_t colon = text.find(':');
  const std::string_view host = text.substr(0, colon);
  const auto allowed = [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '.' || c == '_';
  };
  if (host.empty() || !std::ranges::all_of(host, allowed)) return false;
  return colon == std::string_view::npos || is_port(text.substr(colon + 1));
}

// Fields that are read as one value: were they repeated, two readers could pick different ones.
constexpr std::string_view singletons[] = {"host",          "content-length",   "transfer-encoding",
                                           "content-type",  "content-encoding", "x-api-key",
                                           "authorization", "expect",           "origin"};
enum Singleton : std::size_t {
  host,
  content_length,
  transfer_encoding,
  content_type,
  content_encoding,
  x_api_key,
  authorization,
  expect,
  origin,
};

using Singles = std::array<std::optional<std::string_view>, std::size(singletons)>;

Accepted<Singles> find_singletons(const Fields& fields) {
  Singles found;
  for (const auto& [name, value] : fields.all()) {
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!equals_ignoring_case(name, singletons[i])) continue;
      if (found[i]) return refuse("a header twice that may be there once");
      found[i] = value;
    }
  }
  return found;
}

enum class Persistence : std::uint8_t { unsaid, close, keep_alive };

Accepted<Persistence> read_connection_field(const Fields& fields) {
  Persistence found = Persistence::unsaid;
  for (const auto& [name, value] : fields.all()) {
    if (!equals_ignoring_case(name, "connection")) continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const std::string_view raw = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), raw.size() + 1));
      const std::string_view option = trimmed(raw);
      if (option.empty()) continue;
      if (!is_token(option)) return refuse("a Connection header that is no list of tokens");
      if (equals_ignoring_case(option, "close")) found = Persistence::close;
      const bool keeps = equals_ignoring_case(option, "keep-alive");
      if (keeps && found == Persistence::unsaid) found = Persistence::keep_alive;
    }
  }
  return found;
}

// Of all protocols that are asked for only WebSocket: it begins with a request without a body, and
// ends with its connection. h2c, for one, would carry further requests past everybody who checks
// them.
void read_upgrade(ReceivedHead& received) {
  const Head& head = received.head;
  const bool is_asked = lists(head.fields, "Upgrade", "websocket") && head.method == "GET" &&
                        !received.version_1_0 && !received.has_body() &&
                        has_option(head.fields, "upgrade");
  if (is_asked) received.wanted_upgrade = "websocket";
}

// Gives whether it is HTTP/1.0; there is nothing else but 1.1.
Accepted<bool> is_version_1_0(std::string_view text) {
  if (text == "HTTP/1.1") return false;
  if (text == "HTTP/1.0") return true;
  const bool is_version = text.size() == 8 && text.starts_with("HTTP/") && is_digit(text[5]) &&
                          text[6] == '.' && is_digit(text[7]);
  if (is_version) return refuse("a version of HTTP other than 1.1 and 1.0", 505);
  return refuse("no version of HTTP at the end of the request line");
}

// Gives the target.
Accepted<std::string_view> read_request_line(std::string_view line, ReceivedHead& received,
                                             const HeadLimits& limits) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return refuse("a request line that is not three words");
  }
  const std::string_view method = line.substr(0, first);
  if (!is_token(method)) return refuse("a method that is not a token");
  const auto version_1_0 = is_version_1_0(line.substr(last + 1));
  if (!version_1_0) return std::unexpected(version_1_0.error());
  const auto is_usual = [](char c) { return is_upper(c) || c == '-'; };
  if (method.size() > method_bytes_max || !std::ranges::all_of(method, is_usual) ||
      method == "CONNECT") {
    return refuse("a method that is not known here", 501);
  }
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (target.size() > limits.target_bytes_max) return refuse("a target that is too long", 414);
  received.head.method = method;
  received.version_1_0 = *version_1_0;
  return target;
}

// Cuts "http://here" off an absolute target and gives "here"; nullopt if it is none.
std::optional<std::string_view> take_authority(std::string_view& target) {
  constexpr std::string_view scheme = "http://";
  if (!target.starts_with(scheme)) return std::nullopt;
  target.remove_prefix(scheme.size());
  const std::string_view authority = target.substr(0, target.find_first_of("/?"));
  target.remove_prefix(authority.size());
  return authority;
}

// The origin form of an absolute one, which must name the same host as the Host field does.
Accepted<std::string_view> strip_authority(std::string_view target, std::string_view host_field) {
  const auto authority = take_authority(target);
  if (!authority) return target;
  if (!equals_ignoring_case(*authority, host_field)) {
    return refuse("an absolute target whose host is not the Host header's");
  }
  return target.empty() ? std::string_view("/") : target;
}

Accepted<std::monostate> read_target(std::string_view raw, std::string_view host_field,
                                     Head& head) {
  if (raw == "*" && head.method == "OPTIONS") {
    head.path = head.target = "*";
    return {};
  }
  const auto origin_form = strip_authority(raw, host_field);
  if (!origin_form) return std::unexpected(origin_form.error());
  auto target = parse_target(*origin_form);
  if (!target) return std::unexpected(target.error());
  head.path = std::move(target->path);
  head.query = std::move(target->query);
  head.ambiguous = target->ambiguous;
  head.target = *origin_form;
  return {};
}

// How the body is framed: RFC 9112 §6.3, without its leniencies.
Accepted<std::monostate> read_framing(const Singles& fields, ReceivedHead& received) {
  if (const auto& encoding = fields[transfer_encoding]) {
    if (fields[content_length]) return refuse("both Content-Length and Transfer-Encoding");
    if (received.version_1_0) return refuse("a Transfer-Encoding in HTTP/1.0");
    if (!equals_ignoring_case(*encoding, "chunked")) {
      return refuse("a Transfer-Encoding other than chunked");
    }
    received.chunked = true;
  }
  if (const auto& text = fields[content_length]) {
    const auto length = parse_content_length(*text);
    if (!length) return std::unexpected(length.error());
    received.head.content_length = *length;
  }
  return {};
}

Accepted<std::monostate> check_host(const Singles& fields, bool version_1_0) {
  if (!fields[host]) {
    if (version_1_0) return {};
    return refuse("no Host header");
  }
  if (!is_authority(*fields[host])) return refuse("a Host header that is not a host");
  return {};
}

Accepted<std::monostate> read_expectation(const Singles& fields, ReceivedHead& received) {
  if (!fields[expect] || received.version_1_0) return {};
  if (!equals_ignoring_case(*fields[expect], "100-continue")) {
    return refuse("an Expect other than 100-continue", 417);
  }
  received.expects_continue = received.has_body();
  return {};
}

bool is_encoded(const Singles& fields) {
  const auto& encoding = fields[content_encoding];
  return encoding && !equals_ignoring_case(*encoding, "identity");
}

Accepted<std::monostate> read_persistence(ReceivedHead& received) {
  const auto persistence = read_connection_field(received.head.fields);
  if (!persistence) return std::unexpected(persistence.error());
  received.keep_alive = received.version_1_0 ? *persistence == Persistence::keep_alive
                                             : *persistence != Persistence::close;
  return {};
}

// "HTTP/1.1 200 OK": gives the status, and whether it is HTTP/1.0.
Accepted<std::pair<int, bool>> read_status_line(std::string_view line) {
  const auto version_1_0 = is_version_1_0(line.substr(0, line.find(' ')));
  if (!version_1_0) return std::unexpected(version_1_0.error());
  constexpr std::size_t version_bytes = 9, code_bytes = 3;
  const std::string_view code = line.substr(std::min(line.size(), version_bytes), code_bytes);
  const std::string_view rest = line.substr(std::min(line.size(), version_bytes + code_bytes));
  const bool is_code = code.size() == code_bytes && std::ranges::all_of(code, is_digit) &&
                       (rest.empty() || rest.starts_with(' ')) && is_field_value(rest);
  if (!is_code) return refuse("a status line without a status");
  return std::pair((code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0'), *version_1_0);
}

Accepted<std::monostate> read_response_framing(ReceivedResponse& received, bool version_1_0,
                                               bool to_head) {
  const auto length = received.fields.find("Content-Length");
  const auto encoding = received.fields.find("Transfer-Encoding");
  const auto frames = [](const auto& field) {
    return equals_ignoring_case(field.first, "Content-Length") ||
           equals_ignoring_case(field.first, "Transfer-Encoding");
  };
  if (std::ranges::count_if(received.fields.all(), frames) > 1) {
    return refuse("a body that is framed twice");
  }
  if (encoding && (version_1_0 || !equals_ignoring_case(*encoding, "chunked"))) {
    return refuse("a Transfer-Encoding other than chunked");
  }
  if (length) {
    const auto bytes = parse_content_length(*length);
    if (!bytes) return std::unexpected(bytes.error());
    received.content_length = *bytes;
  }
  const int status = received.status;
  received.chunked = encoding.has_value();
  received.has_body = !to_head && status >= 200 && status != 204 && status != 304;
  return {};
}

}  // namespace

bool is_token(std::string_view text) {
  return !text.empty() && all_in(token_bytes, are_letters, text);
}
bool is_field_value(std::string_view text) {
  return all_in(value_bytes, are_no_controls, text);
}
bool equals_but_for_case(std::string_view a, std::string_view b) {
  const auto is_same = [](char x, char y) { return x == y || lower(x) == lower(y); };
  return std::ranges::equal(a, b, is_same);
}

bool lists(const Fields& fields, std::string_view wanted_name, std::string_view wanted) {
  for (const auto& [name, value] : fields.all()) {
    if (!equals_ignoring_case(name, wanted_name)) continue;
    for (std::string_view rest = value; !rest.empty();) {
      const std::string_view element = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), element.size() + 1));
      if (equals_ignoring_case(trimmed(element), wanted)) return true;
    }
  }
  return false;
}

bool has_option(const Fields& fields, std::string_view wanted) {
  return lists(fields, "Connection", wanted);
}

Accepted<std::optional<std::size_t>> find_head_end(std::string_view buffer, std::size_t scanned,
                                                   const HeadLimits& limits) {
  if (buffer.empty()) return std::nullopt;
  if (!is_token(buffer.substr(0, 1))) return refuse("bytes that are not HTTP");
  for (std::size_t at = buffer.find('\n', scanned); at != std::string_view::npos;
       at = buffer.find('\n', at + 1)) {
    if (buffer[at - 1] != '\r') return refuse("a line that does not end in CR LF");
    if (at + 1 > limits.bytes_max) break;
    if (at >= 2 && buffer[at - 2] == '\n') return at + 1;
  }
  // So that an endless target is not read up to the limit of the whole head.
  const std::size_t request_line_max = limits.target_bytes_max + method_bytes_max + 16;
  if (buffer.size() > request_line_max && !buffer.substr(0, request_line_max).contains('\n')) {
    return refuse("a target that is too long", 414);
  }
  if (buffer.size() < limits.bytes_max) return std::nullopt;
  return refuse("a head that is too long", 431);
}

std::string_view path_in(std::string_view buffer) {
  const std::string_view line = buffer.substr(0, buffer.find_first_of("\r\n"));
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return {};
  std::string_view target = line.substr(space + 1);
  target = target.substr(0, target.find(' '));  // The version has a '/', too.
  (void)take_authority(target);
  return target.substr(0, target.find('?'));
}

std::optional<Rejection> only_passed(const ReceivedHead& received) {
  if (received.head.ambiguous != nullptr) return Rejection{400, received.head.ambiguous};
  if (received.encoded) return Rejection{415, "a Content-Encoding: bodies are not decoded here"};
  return std::nullopt;
}

Accepted<ReceivedHead> parse_head(std::string_view raw, const HeadLimits& limits) {
  if (raw.size() > limits.bytes_max) return refuse("a head that is too long", 431);
  if (!raw.ends_with("\r\n\r\n")) return refuse("a head that does not end in an empty line");
  raw.remove_suffix(2);
  ReceivedHead received;
  Head& head = received.head;
  const auto target = read_request_line(take_line(raw), received, limits);
  if (!target) return std::unexpected(target.error());
  Accepted<std::monostate> read = read_fields(raw, head.fields, limits.fields_max);
  if (!read) return std::unexpected(read.error());
  const auto singles = find_singletons(head.fields);
  if (!singles) return std::unexpected(singles.error());
  read = check_host(*singles, received.version_1_0);
  if (read) read = read_target(*target, (*singles)[host].value_or(""), head);
  if (read) read = read_framing(*singles, received);
  if (read) read = read_expectation(*singles, received);
  if (read) read = read_persistence(received);
  if (read) read_upgrade(received);
  if (!read) return std::unexpected(read.error());
  received.encoded = is_encoded(*singles);
  const auto why = limits.may_be_passed_on ? std::nullopt : only_passed(received);
  if (why) return std::unexpected(*why);
  return received;
}

Accepted<ReceivedResponse> parse_response_head(std::string_view raw, const HeadLimits& limits,
                                               bool to_head) {
  if (!raw.ends_with("\r\n\r\n")) return refuse("a head that does not end in an empty line");
  raw.remove_suffix(2);
  const auto line = read_status_line(take_line(raw));
  if (!line) return std::unexpected(line.error());
  const auto [status, version_1_0] = *line;
  if (status < 100 || status > 599) return refuse("a status that does not exist");
  ReceivedResponse received{.status = status};
  auto read = read_fields(raw, received.fields, limits.fields_max, false);
  if (read) read = read_response_framing(received, version_1_0, to_head);
  if (!read) return std::unexpected(read.error());
  const auto persistence = read_connection_field(received.fields);
  if (!persistence) return std::unexpected(persistence.error());
  received.keep_alive =
      version_1_0 ? *persistence == Persistence::keep_alive : *persistence != Persistence::close;
  return received;
}

Accepted<Fields> parse_fields(std::string_view raw, std::size_t fields_max) {
  Fields fields;
  if (auto r = read_fields(raw, fields, fields_max); !r) return std::unexpected(r.error());
  return fields;
}

}  // namespace dormouse::http
