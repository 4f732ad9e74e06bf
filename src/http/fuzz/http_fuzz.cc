// Bytes as a client may send them, through everything pure that reads them: head, target, chunks.
//
// Beast reads every head that we accept, too: what it says about method, target, length, chunks and
// keeping alive must be what we say, so that no reading of ours is a reading of our own.
#include <boost/beast/http.hpp>
#include <cstdint>

#include "base/check.h"
#include "http/body_cursor.h"
#include "http/chunked.h"
#include "http/head.h"
#include "http/target.h"

namespace dormouse::http {
namespace {

namespace beast = boost::beast;

constexpr HeadLimits limits{
    .bytes_max = 4096, .target_bytes_max = 1024, .fields_max = 50, .may_be_passed_on = true};

void compare_with_beast(std::string_view raw, const ReceivedHead& received) {
  beast::http::request_parser<beast::http::empty_body> parser;
  parser.header_limit(8192);
  parser.body_limit(boost::none);
  beast::error_code failed;
  parser.put(boost::asio::buffer(raw), failed);
  CHECK(parser.is_header_done());
  const auto& theirs = parser.get();
  const Head& ours = received.head;
  CHECK(theirs.method_string() == ours.method);
  CHECK((theirs.version() == 10) == received.version_1_0);
  CHECK(theirs.chunked() == received.chunked);
  // Beast's message reads the first Connection field only, and we all of them (RFC 9110, 5.3).
  if (theirs.count(beast::http::field::connection) <= 1) {
    CHECK(theirs.keep_alive() == received.keep_alive);
  }
  const auto length = parser.content_length();
  CHECK(length.value_or(0) == ours.content_length.value_or(0));
  CHECK(static_cast<std::size_t>(std::distance(theirs.begin(), theirs.end())) ==
        ours.fields.size());
}

// Decoded once is decoded for good, or the path is ambiguous; and there is no way up in either.
void check_path(const std::string& path, bool is_ambiguous) {
  if (path == "*") return;
  CHECK(path.starts_with('/'));
  for (const char* banned : {"//", "%", ";"}) CHECK(is_ambiguous || !path.contains(banned));
  for (const char* banned : {"/./", "/../", "\\"}) CHECK(!path.contains(banned));
  CHECK(!path.ends_with("/.") && !path.ends_with("/.."));
  for (const char* hidden : {"/..;", "/..%2f", "/..%2F", "/..%3b", "/%252e%252e/", "/..%255c"}) {
    CHECK(!path.contains(hidden));
  }
  for (const char c : path) CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}

// A server that is passed the target reads of it what we have read.
void check_target(const Head& head) {
  if (head.target == "*") return;
  const auto again = parse_target(head.target);
  CHECK(again && again->path == head.path && again->query == head.query);
  CHECK(again->ambiguous == head.ambiguous);
  for (const char c : head.target) CHECK(c > 0x20 && c < 0x7F && c != '#');
}

// What a refusal is worded by is the path that the head would have had.
void compare_with_refusals(std::string_view raw, const std::string& path) {
  const auto said = parse_target(path_in(raw));
  CHECK(said ? said->path == path : path == "*" || path == "/");
}

// Whole and byte by byte must come to the same.
void read_chunks(std::string_view input) {
  ChunkedFraming whole;
  ChunkedFraming split;
  bool whole_refused = false;
  bool split_refused = false;
  std::size_t at = 0;
  while (at < input.size() && !whole.complete() && !whole_refused) {
    const auto used = whole.read(input.substr(at));
    whole_refused = !used;
    if (!used) break;
    at += *used;
    const auto data = std::min<std::uint64_t>(whole.data_left(), input.size() - at);
    if (data > 0) whole.skip_data(data);
    at += data;
  }
  for (std::size_t i = 0; i < input.size() && !split.complete() && !split_refused; ++i) {
    if (split.data_left() > 0) {
      split.skip_data(1);
    } else {
      split_refused = !split.read(input.substr(i, 1));
    }
  }
  CHECK(whole_refused == split_refused);
  CHECK(whole.complete() == split.complete());
}

// What a server says is believed in one way too: framed once, and a body found to its end.
void read_response(std::string_view input) {
  const auto end = find_head_end(input, 0, limits);
  if (!end || !*end) return;
  const auto received = parse_response_head(input.substr(0, **end), limits, false);
  if (!received) return;
  CHECK(received->status >= 100 && received->status <= 599);
  CHECK(!(received->chunked && received->content_length));
  BodyCursor cursor = received->chunked ? BodyCursor::chunked()
                                        : BodyCursor::sized(received->content_length.value_or(0));
  std::uint64_t data = 0;
  for (input.remove_prefix(**end); !cursor.complete() && !input.empty();) {
    const auto step = cursor.take(input);
    if (!step) return;
    data += step->data.size();
    CHECK(step->framing + step->data.size() > 0 || cursor.complete());
    input.remove_prefix(step->framing + step->data.size());
  }
  if (cursor.complete() && received->content_length) CHECK(data == *received->content_length);
}

void read_all(std::string_view input) {
  CHECK(!path_in(input).contains(' '));
  const auto end = find_head_end(input, 0, limits);
  if (end && *end) {
    const std::string_view raw = input.substr(0, **end);
    if (const auto received = parse_head(raw, limits)) {
      check_path(received->head.path, received->head.ambiguous != nullptr);
      check_target(received->head);
      compare_with_beast(raw, *received);
      compare_with_refusals(raw, received->head.path);
      (void)query_value(received->head.query, "a");
      if (received->chunked) read_chunks(input.substr(**end));
    }
  }
  read_chunks(input);
  read_response(input);
  if (const auto target = parse_target(input)) {
    check_path(target->path, target->ambiguous != nullptr);
  }
}

}  // namespace
}  // namespace dormouse::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  dormouse::http::read_all({reinterpret_cast<const char*>(bytes), size});
  return 0;
}
