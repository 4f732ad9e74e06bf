#include "http/chunked.h"

#include <gtest/gtest.h>

namespace dormouse::http {
namespace {

// The body's bytes and where it ended, or why not.
struct Outcome {
  bool refused = false;
  bool complete = false;
  std::string data;
  std::size_t used = 0;
  Fields trailers;
};

Outcome feed(std::string_view input, std::size_t step) {
  ChunkedFraming framing;
  Outcome outcome;
  std::size_t end = std::min(step, input.size());
  while (!framing.complete()) {
    const auto consumed = framing.read(input.substr(outcome.used, end - outcome.used));
    if (!consumed) return {.refused = true};
    outcome.used += *consumed;
    const std::size_t data = std::min<std::uint64_t>(framing.data_left(), end - outcome.used);
    if (data > 0) {
      outcome.data += input.substr(outcome.used, data);
      framing.skip_data(data);
      outcome.used += data;
    }
    if (framing.complete() || (*consumed == 0 && data == 0 && end == input.size())) break;
    if (outcome.used == end) {
      if (end == input.size()) break;
      end = std::min(end + step, input.size());
    }
  }
  outcome.complete = framing.complete();
  if (outcome.complete) outcome.trailers = framing.trailers();
  return outcome;
}

TEST(Chunked, GivesTheDataAndStopsAtTheEnd) {
  const std::string body =
      "5;name=\"v\"\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nX-Sum: 3\r\n\r\n";
  const std::string input = body + "GET /next HTTP/1.1\r\n";
  for (std::size_t step = 1; step <= input.size(); ++step) {
    const Outcome outcome = feed(input, step);
    EXPECT_TRUE(outcome.complete) << step;
    EXPECT_EQ(outcome.data, "hello 0123456789");
    EXPECT_EQ(outcome.used, body.size()) << "the next request is not touched";
    EXPECT_EQ(outcome.trailers.find("x-sum"), "3");
  }
}

TEST(Chunked, RefusesWhatTwoReadersCouldReadDifferently) {
  struct {
    const char* why;
    std::string input;
  } rows[] = {
      {"no size", "\r\nhello"},
      {"a sign", "+5\r\nhello\r\n"},
      {"a minus", "-5\r\nhello\r\n"},
      {"0x", "0x5\r\nhello\r\n"},
      {"a space before the size", " 5\r\nhello\r\n"},
      {"a space behind it", "5 \r\nhello\r\n"},
      {"a tab behind it", "5\t\r\nhello\r\n"},
      {"a letter that is no digit", "g\r\n"},
      {"an underscore", "1_0\r\n"},
      {"LF after the size", "5\nhello\r\n"},
      {"CR after the size", "5\rhello\r\n"},
      {"NUL after the size", std::string("5\0\r\nhello", 9)},
      {"a size of 17 digits", "00000000000000005\r\nhello\r\n"},
      {"a size beyond 63 bits", "8000000000000000\r\n"},
      {"a size beyond 64 bits", "fffffffffffffffff\r\n"},
      {"data longer than its size", "5\r\nhello!\r\n"},
      {"data shorter than its size", "6\r\nhello\r\n0\r\n\r\n"},
      {"LF after the data", "5\r\nhello\n0\r\n\r\n"},
      {"CR CR LF after the data", "5\r\nhello\r\r\n"},
      {"LF in an extension", "5;a\nb\r\nhello\r\n"},
      {"CR in an extension", "5;a\rb\r\nhello\r\n"},
      {"NUL in an extension", std::string("5;\0\r\nhello", 10)},
      {"LF at the end", "0\r\n\n"},
      {"LF after the last size", "0\n\n"},
      {"a trailer without a colon", "0\r\nX\r\n\r\n"},
      {"a folded trailer", "0\r\nX: a\r\n b\r\n\r\n"},
      {"a trailer that ends in LF", "0\r\nX: a\n\r\n"},
      {"a bare CR in a trailer", "0\r\nX: a\rb\r\n\r\n"},
      {"a space before a trailer's colon", "0\r\nX : a\r\n\r\n"},
      {"endless extensions", "5;" + std::string(17'000, 'a')},
      {"endless trailers", "0\r\nX: " + std::string(9'000, 'a')},
  };
  for (const auto& row : rows) {
    EXPECT_TRUE(feed(row.input, row.input.size()).refused) << row.why;
    EXPECT_TRUE(feed(row.input, 1).refused) << row.why << ", byte by byte";
  }
}

TEST(Chunked, WaitsForWhatHasNotCome) {
  for (const char* input : {"", "5", "5\r", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r",
                            "5\r\nhello\r\n", "0", "0\r\n", "0\r\n\r", "0\r\nX: a\r\n\r"}) {
    const Outcome outcome = feed(input, 1);
    EXPECT_FALSE(outcome.refused || outcome.complete) << input;
  }
}

}  // namespace
}  // namespace dormouse::http
