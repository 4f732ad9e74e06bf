// What is a request and what is not: bytes in, a status out. 0: more has to come; 200: accepted.
#include "http/head.h"

#include <gtest/gtest.h>

#include "http/target.h"

namespace dormouse::http {
namespace {

using namespace std::string_literals;

constexpr HeadLimits limits{.bytes_max = 2048, .target_bytes_max = 512, .fields_max = 20};

int status_of(std::string_view raw) {
  const auto end = find_head_end(raw, 0, limits);
  if (!end) return end.error().status;
  if (!*end) return 0;
  const auto received = parse_head(raw.substr(0, **end), limits);
  return received ? 200 : received.error().status;
}

struct Row {
  const char* why;
  std::string text;
  int status;
};

void expect_rows(std::initializer_list<Row> rows, std::string_view before, std::string_view after) {
  for (const Row& row : rows) {
    const std::string raw = std::string(before) + row.text + std::string(after);
    EXPECT_EQ(status_of(raw), row.status) << row.why << "\n" << raw;
  }
}

TEST(Head, TheRequestLineIsThreeWords) {
  expect_rows(
      {
          {"the usual", "GET / HTTP/1.1", 200},
          {"HTTP/1.0", "GET / HTTP/1.0", 200},
          {"another method", "PATCH / HTTP/1.1", 200},
          {"a WebDAV one, with a hyphen", "VERSION-CONTROL / HTTP/1.1", 200},
          {"HTTP/0.9", "GET /", 400},
          {"HTTP/0.9 with a space", "GET / ", 400},
          {"no method", " / HTTP/1.1", 400},
          {"no target", "GET HTTP/1.1", 400},
          {"an empty target", "GET  HTTP/1.1", 400},
          {"two spaces before the target", "GET  / HTTP/1.1", 400},
          {"two spaces after it", "GET /  HTTP/1.1", 400},
          {"a space inside it", "GET /a b HTTP/1.1", 400},
          {"a tab instead of a space", "GET\t/ HTTP/1.1", 400},
          {"a tab after the target", "GET /\tHTTP/1.1", 400},
          {"a vertical tab", "GET\v/ HTTP/1.1", 400},
          {"a space at the end", "GET / HTTP/1.1 ", 400},
          {"a space at the start", " GET / HTTP/1.1", 400},
          {"a tab at the start", "\tGET / HTTP/1.1", 400},
          {"an empty line before", "\r\nGET / HTTP/1.1", 400},
          {"NUL before", "\0GET / HTTP/1.1"s, 400},
          {"NUL in the method", "GE\0T / HTTP/1.1"s, 400},
          {"NUL in the target", "GET /\0 HTTP/1.1"s, 400},
          {"a bare CR in the target", "GET /\rX HTTP/1.1", 400},
          {"a bare CR at the end", "GET / HTTP/1.1\r", 400},
          {"a method in lower case", "get / HTTP/1.1", 501},
          {"in mixed case", "Get / HTTP/1.1", 501},
          {"a very long method", std::string(21, 'A') + " / HTTP/1.1", 501},
          {"a method with a colon", "GET: / HTTP/1.1", 400},
          {"a method with a slash", "G/T / HTTP/1.1", 400},
          {"a method in quotes", "\"GET\" / HTTP/1.1", 400},
          {"a method that is not ASCII", "G\xC3\x89T / HTTP/1.1", 400},
          {"CONNECT in authority form", "CONNECT a:80 HTTP/1.1", 501},
          {"CONNECT in origin form", "CONNECT / HTTP/1.1", 501},
          {"TLS", "\x16\x03\x01\x02\x00\x01"s, 400},
          {"a PROXY protocol line", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2", 400},
      },
      "", "\r\nHost: a\r\n\r\n");
}

TEST(Head, TheVersionIsOneOfTwo) {
  expect_rows(
      {
          {"1.1", "HTTP/1.1", 200},
          {"1.0", "HTTP/1.0", 200},
          {"1.2", "HTTP/1.2", 505},
          {"2.0", "HTTP/2.0", 505},
          {"0.9", "HTTP/0.9", 505},
          {"3.0", "HTTP/3.0", 505},
          {"1", "HTTP/1", 400},
          {"2", "HTTP/2", 400},
          {"lower case", "http/1.1", 400},
          {"a leading zero", "HTTP/01.1", 400},
          {"two digits", "HTTP/1.10", 400},
          {"a sign", "HTTP/+1.1", 400},
          {"hexadecimal", "HTTP/0x1.1", 400},
          {"a comma", "HTTP/1,1", 400},
          {"a space inside", "HTTP/ 1.1", 400},
          {"another protocol", "ICY/1.1", 400},
          {"nothing", "", 400},
          {"twice", "HTTP/1.1 HTTP/1.1", 400},
          {"with something behind it", "HTTP/1.1x", 400},
      },
      "GET / ", "\r\nHost: a\r\n\r\n");
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505) << "the preface of HTTP/2";
}

TEST(Head, EveryLineEndsInCrLfAndTheHeadInAnEmptyLine) {
  expect_rows(
      {
          {"the usual", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200},
          {"nothing yet", "", 0},
          {"half a method", "GE", 0},
          {"half a line", "GET / HTTP/1.1\r", 0},
          {"no empty line yet", "GET / HTTP/1.1\r\nHost: a\r\n", 0},
          {"half an empty line", "GET / HTTP/1.1\r\nHost: a\r\n\r", 0},
          {"LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
          {"LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
          {"LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
          {"only LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
          {"LF at once, though more has to come", "GET / HTTP/1.1\n", 400},
          {"CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400},
          {"CR only", "GET / HTTP/1.1\rHost: a\r\r", 0},
          {"CR between fields", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400},
          {"LF CR", "GET / HTTP/1.1\n\rHost: a\n\r\n\r", 400},
          {"an empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
          {"LF before", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      },
      "", "");
}

TEST(Head, AFieldIsANameAColonAndAValue) {
  expect_rows(
      {
          {"the usual", "X-A: b", 200},
          {"no space after the colon", "X-A:b", 200},
          {"spaces and tabs around the value", "X-A: \t b \t", 200},
          {"an empty value", "X-A:", 200},
          {"a colon in the value", "X-A: b:c", 200},
          {"every byte a name may have", "!#$%&'*+-.^`|~09azAZ: b", 200},
          {"bytes above 0x7F in a value", "X-A: caf\xC3\xA9", 200},
          {"a tab in a value", "X-A: b\tc", 200},
          {"a space before the colon", "X-A : b", 400},
          {"a tab before the colon", "X-A\t: b", 400},
          {"a space in the name", "X A: b", 400},
          {"a space before the name: folded", " X-A: b", 400},
          {"a tab before the name: folded", "\tX-A: b", 400},
          {"a folded value", "X-A: b\r\n c", 400},
          {"a folded value, by a tab", "X-A: b\r\n\tc", 400},
          {"a fold of only a space", "X-A: b\r\n ", 400},
          {"no colon", "X-A", 400},
          {"no name", ": b", 400},
          {"only a colon", ":", 400},
          {"a name in quotes", "\"X-A\": b", 400},
          {"a slash in a name", "X/A: b", 400},
          {"brackets in a name", "X[A]: b", 400},
          {"a name that is not ASCII", "X-\xC3\x89: b", 400},
          {"NUL in a name", "X\0A: b"s, 400},
          {"NUL in a value", "X-A: b\0c"s, 400},
          {"a bell in a value", "X-A: b\ac", 400},
          {"escape in a value", "X-A: \x1B[0m", 400},
          {"DEL in a value", "X-A: b\x7F", 400},
          {"a vertical tab in a value", "X-A: b\vc", 400},
          {"a form feed before a value", "X-A:\fb", 400},
          {"a form feed in a name", "X-A\f: b", 400},
          {"DEL in a name", "X\x7F: b", 400},
          {"an underscore in a name", "X_A: b", 400},
          {"a twin of Content-Length", "Content_Length: 5", 400},
          {"a twin of Transfer-Encoding", "Transfer_Encoding: chunked", 400},
          {"a twin of a key", "X_Api_Key: k", 400},
          {"a twin of Authorization's kind", "Proxy_Authorization: k", 400},
          {"a request line as a field", "GET /b HTTP/1.1", 400},
      },
      "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n");
}

TEST(Head, HostIsThereOnceAndIsAHost) {
  expect_rows(
      {
          {"a name", "Host: a", 200},
          {"a name with dots and a port", "Host: a.example:8080", 200},
          {"a name with an underscore", "Host: my_service:80", 200},
          {"IPv4", "Host: 127.0.0.1:80", 200},
          {"IPv6", "Host: [::1]:80", 200},
          {"IPv6 without a port", "Host: [2001:db8::1]", 200},
          {"an empty port", "Host: a:", 200},
          {"none", "X: a", 400},
          {"empty", "Host:", 400},
          {"two", "Host: a\r\nHost: b", 400},
          {"two that are equal", "Host: a\r\nhost: a", 400},
          {"a path", "Host: a/b", 400},
          {"a user", "Host: u@a", 400},
          {"a list", "Host: a, b", 400},
          {"a space", "Host: a b", 400},
          {"a port that is a name", "Host: a:http", 400},
          {"a port that is too long", "Host: a:123456", 400},
          {"two ports", "Host: a:1:2", 400},
          {"only a port", "Host: :80", 400},
          {"an open bracket", "Host: [::1", 400},
          {"something behind the bracket", "Host: [::1]x", 400},
          {"empty brackets", "Host: []", 400},
          {"a name in brackets", "Host: [name]", 400},
          {"percent-encoding", "Host: a%2Fb", 400},
          {"not ASCII", "Host: caf\xC3\xA9", 400},
          {"a query", "Host: a?b", 400},
          {"a backslash", "Host: a\\b", 400},
      },
      "GET / HTTP/1.1\r\n", "\r\n\r\n");
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\n\r\n"), 200) << "HTTP/1.0 knows no Host";
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
}

TEST(Head, ABodyIsFramedInExactlyOneWay) {
  expect_rows(
      {
          {"a length", "Content-Length: 5", 200},
          {"no body", "Content-Length: 0", 200},
          {"the longest", "Content-Length: 9223372036854775807", 200},
          {"chunked", "Transfer-Encoding: chunked", 200},
          {"chunked in capitals", "Transfer-Encoding: Chunked", 200},
          {"both", "Content-Length: 5\r\nTransfer-Encoding: chunked", 400},
          {"both, the other way", "Transfer-Encoding: chunked\r\nContent-Length: 5", 400},
          {"both, in odd cases", "tRANSFER-eNCODING: chunked\r\ncONTENT-lENGTH: 0", 400},
          {"two lengths", "Content-Length: 5\r\nContent-Length: 6", 400},
          {"two equal lengths", "Content-Length: 5\r\nContent-Length: 5", 400},
          {"a list of lengths", "Content-Length: 5, 5", 400},
          {"a list of differing ones", "Content-Length: 5,6", 400},
          {"an empty length", "Content-Length:", 400},
          {"a plus", "Content-Length: +5", 400},
          {"a minus", "Content-Length: -5", 400},
          {"minus zero", "Content-Length: -0", 400},
          {"hexadecimal", "Content-Length: 0x5", 400},
          {"letters behind", "Content-Length: 5a", 400},
          {"a space inside", "Content-Length: 5 5", 400},
          {"a leading zero", "Content-Length: 05", 400},
          {"octal", "Content-Length: 010", 400},
          {"a fraction", "Content-Length: 5.0", 400},
          {"an exponent", "Content-Length: 5e3", 400},
          {"an underscore", "Content-Length: 5_000", 400},
          {"quotes", "Content-Length: \"5\"", 400},
          {"a comma behind", "Content-Length: 5,", 400},
          {"a semicolon behind", "Content-Length: 5;", 400},
          {"NUL behind", "Content-Length: 5\0"s, 400},
          {"a vertical tab before", "Content-Length: \v5", 400},
          {"beyond 63 bits", "Content-Length: 9223372036854775808", 400},
          {"beyond 64 bits", "Content-Length: 18446744073709551621", 400},
          {"digits of another script", "Content-Length: \xD9\xA5", 400},
          {"a space before the colon", "Content-Length : 5", 400},
          {"gzip", "Transfer-Encoding: gzip", 400},
          {"gzip, then chunked", "Transfer-Encoding: gzip, chunked", 400},
          {"chunked, then something", "Transfer-Encoding: chunked, identity", 400},
          {"chunked twice", "Transfer-Encoding: chunked, chunked", 400},
          {"chunked on two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400},
          {"identity", "Transfer-Encoding: identity", 400},
          {"two kinds", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400},
          {"empty", "Transfer-Encoding:", 400},
          {"a comma before", "Transfer-Encoding: ,chunked", 400},
          {"a comma behind", "Transfer-Encoding: chunked,", 400},
          {"a parameter", "Transfer-Encoding: chunked;a=b", 400},
          {"quotes", "Transfer-Encoding: \"chunked\"", 400},
          {"a prefix", "Transfer-Encoding: xchunked", 400},
          {"a suffix", "Transfer-Encoding: chunkedx", 400},
          {"a vertical tab before", "Transfer-Encoding: \vchunked", 400},
          {"not ASCII",
           "Transfer-Encoding: \xE2\x84\xAA"
           "chunked",
           400},
          {"a space in the name", "Transfer Encoding: chunked", 400},
          {"folded", "Transfer-Encoding:\r\n chunked", 400},
          {"in HTTP/1.0 too", "X: y", 200},
      },
      "POST / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n");
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n"), 200);
}

TEST(Head, WhatIsReadAsOneValueMayBeThereOnce) {
  expect_rows(
      {
          {"a field twice", "X-A: b\r\nX-A: c", 200},
          {"two keys", "X-Api-Key: a\r\nx-api-key: b", 400},
          {"two authorizations", "Authorization: Bearer a\r\nAuthorization: Bearer b", 400},
          {"two types", "Content-Type: a/b\r\nContent-Type: c/d", 400},
          {"two origins", "Origin: http://a\r\nOrigin: http://b", 400},
          {"an expectation", "Expect: 100-continue", 200},
          {"an expectation in capitals", "Expect: 100-Continue", 200},
          {"another expectation", "Expect: tea", 417},
          {"two expectations", "Expect: 100-continue\r\nExpect: 100-continue", 400},
          {"an encoding", "Content-Encoding: gzip", 415},
          {"several encodings", "Content-Encoding: gzip, br", 415},
          {"no encoding", "Content-Encoding: identity", 200},
          {"a connection's options", "Connection: , close,x-y ,", 200},
          {"an option of two words", "Connection: keep alive", 400},
      },
      "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n");
}

TEST(Head, TheTargetIsOfAKnownForm) {
  expect_rows(
      {
          {"origin form", "GET /a/b?c=d", 200},
          {"absolute form", "GET http://a/b", 200},
          {"absolute form without a path", "GET http://a", 200},
          {"absolute form in capitals", "GET http://A/b", 200},
          {"asterisk form", "OPTIONS *", 200},
          {"absolute form of another host", "GET http://b/", 400},
          {"absolute form with a port that Host lacks", "GET http://a:80/", 400},
          {"absolute form with a user", "GET http://u@a/", 400},
          {"absolute form of TLS", "GET https://a/", 400},
          {"absolute form of a file", "GET file:///etc/passwd", 400},
          {"a scheme in capitals", "GET HTTP://a/", 400},
          {"asterisk form of GET", "GET *", 400},
          {"authority form", "GET a:80", 400},
          {"a relative path", "GET a", 400},
          {"only a query", "GET ?a", 400},
          {"a fragment", "GET /a#b", 400},
          {"a query with a fragment", "GET /?a#b", 400},
          {"a query with a space", "GET /?a b", 400},
          {"a query that is not ASCII", "GET /?\xC3\xA9", 400},
          {"a query with half an escape", "GET /?a=%4", 400},
          {"a query with NUL", "GET /?a=%00", 400},
      },
      "", " HTTP/1.1\r\nHost: a\r\n\r\n");
}

TEST(Head, LimitsHold) {
  const std::string host = "Host: a\r\n";
  const auto fields = [](std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += "X: y\r\n";
    return text;
  };
  const std::string get = "GET / HTTP/1.1\r\n" + host;
  expect_rows(
      {
          {"the longest target", "GET /" + std::string(511, 'a') + " HTTP/1.1\r\n" + host, 200},
          {"one byte longer", "GET /" + std::string(512, 'a') + " HTTP/1.1\r\n" + host, 414},
          {"as many fields as may be", get + fields(19), 200},
          {"one more", get + fields(20), 431},
          {"the longest head", get + "X: " + std::string(2048 - 32, 'a') + "\r\n", 200},
          {"one byte longer", get + "X: " + std::string(2048 - 31, 'a') + "\r\n", 431},
      },
      "", "\r\n");
  EXPECT_EQ(status_of("GET /" + std::string(600, 'a')), 414) << "before its end has come";
  EXPECT_EQ(status_of(get + "X: " + std::string(2048, 'a')), 431) << "before its end has come";
}

TEST(Head, SaysWhatTheRequestIs) {
  const auto received = parse_head(
      "POST /f/caf%C3%A9?q=%20 HTTP/1.1\r\nHOST: a\r\nX-One:  1 \r\nContent-Length: 7\r\n"
      "Expect: 100-continue\r\nConnection: foo, Close\r\n\r\n",
      limits);
  ASSERT_TRUE(received);
  EXPECT_EQ(received->head.method, "POST");
  EXPECT_EQ(received->head.path, "/f/caf\xC3\xA9");
  EXPECT_EQ(received->head.query, "q=%20");
  EXPECT_EQ(received->head.target, "/f/caf%C3%A9?q=%20");
  EXPECT_EQ(received->head.fields.find("x-ONE"), "1");
  EXPECT_EQ(received->head.fields.find("x-two"), std::nullopt);
  EXPECT_EQ(received->head.content_length, 7);
  EXPECT_TRUE(received->expects_continue);
  EXPECT_FALSE(received->keep_alive);
}

TEST(Head, KeepsAliveAsTheVersionAndTheClientSay) {
  const auto keeps = [](std::string_view version, std::string_view connection) {
    const std::string raw = "GET / HTTP/" + std::string(version) +
                            "\r\nHost: a\r\nConnection: " + std::string(connection) + "\r\n\r\n";
    return parse_head(raw, limits)->keep_alive;
  };
  EXPECT_TRUE(keeps("1.1", "x"));
  EXPECT_TRUE(keeps("1.1", "keep-alive"));
  EXPECT_FALSE(keeps("1.1", "close"));
  EXPECT_FALSE(keeps("1.1", "keep-alive, CLOSE"));
  EXPECT_FALSE(keeps("1.0", "x"));
  EXPECT_TRUE(keeps("1.0", "Keep-Alive"));
  EXPECT_FALSE(keeps("1.0", "close, keep-alive"));
}

TEST(Head, IsFoundInPiecesOfAnySize) {
  const std::string raw = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n";
  const std::size_t end = raw.find("\r\n\r\n") + 4;
  for (std::size_t step = 1; step < raw.size(); ++step) {
    std::size_t scanned = 0;
    std::optional<std::size_t> found;
    for (std::size_t size = step; !found; size = std::min(size + step, raw.size())) {
      const auto result = find_head_end(std::string_view(raw).substr(0, size), scanned, limits);
      ASSERT_TRUE(result);
      found = *result;
      scanned = size;
    }
    EXPECT_EQ(found, end) << "in pieces of " << step;
  }
}

TEST(Head, HasAPathAsSoonAsThatIsThere) {
  struct {
    const char* buffer;
    const char* path;
  } rows[] = {
      {"GET /a/b HTTP/1.1\r\nHost: a\r\n", "/a/b"},
      {"GET /a%2Fb?c=/d HTTP/1.1\r\n", "/a%2Fb"},
      {"GET http://a:80/b?c HTTP/1.1\r\n", "/b"},
      {"GET http://a", ""},
      {"GET http://a HTTP/1.0\r\nHost: a\r\n", ""},
      {"GET /a/b", "/a/b"},
      {"GET /a\nb /c", "/a"},
      {"GET ", ""},
      {"GET", ""},
      {"GET\r\nHost: /a", ""},
      {"", ""},
  };
  for (const auto& row : rows) EXPECT_EQ(path_in(row.buffer), row.path) << row.buffer;
}

TEST(Target, IsAmbiguousWhereReadersDiffer) {
  struct {
    const char* raw;
    const char* path;
  } rows[] = {
      {"/@scope%2Fname", "/@scope%2Fname"},
      {"/a%2fb/%63", "/a%2fb/c"},
      {"/%2F", "/%2F"},
      {"/a%5Cb", "/a%5Cb"},
      {"/a;b=c", "/a;b=c"},
      {"/a%3Bb", "/a%3Bb"},
      {"/100%25", "/100%25"},
      {"/%2541", "/%2541"},
      {"/%252F", "/%252F"},
      {"/[id]/a|b", "/[id]/a|b"},
      {"/of/https://host/", "/of/https://host/"},
      {"//", "//"},
      {"//a", "//a"},
      {"/a//", "/a//"},
      {"/..a;/b", "/..a;/b"},
      {"/a^b", "/a^b"},
      {"/a;..", "/a;.."},
  };
  for (const auto& row : rows) {
    const auto target = parse_target(row.raw);
    ASSERT_TRUE(target) << row.raw;
    EXPECT_EQ(target->path, row.path);
    EXPECT_NE(target->ambiguous, nullptr) << row.raw;
  }
}

TEST(Head, HasWhatCanOnlyBePassedOnForWhoPassesOn) {
  HeadLimits taking = limits;
  taking.may_be_passed_on = true;
  for (const char* target : {"/a%2Fb", "http://a/b;c", "//"}) {
    const std::string raw = std::string("GET ") + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
    const auto refused = parse_head(raw, limits);
    ASSERT_FALSE(refused) << raw;
    EXPECT_EQ(refused.error().status, 400);
    const auto taken = parse_head(raw, taking);
    ASSERT_TRUE(taken) << raw;
    EXPECT_EQ(std::string_view(taken->head.ambiguous), refused.error().why);
  }
  const std::string encoded = "POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n\r\n";
  EXPECT_EQ(parse_head(encoded, limits).error().status, 415);
  const auto taken = parse_head(encoded, taking);
  ASSERT_TRUE(taken);
  EXPECT_EQ(only_passed(*taken)->status, 415);
}

TEST(Target, HidesNoDotSegmentFromACarelessReader) {
  for (const char* raw : {"/%252e%252e", "/%25252e%2525252e/a",
                          "/..;/a",      "/a/.;b",
                          "/..%2Fa",     "/a%2F..",
                          "/..%5c",      "/a%5C..%5Cb",
                          "/..%3Ba",     "/a/..%253Bb",
                          "/a%252F..",   "/%2e%2e;/",
                          "/a//../b",    "/;/..",
                          "/%2525252e.", "/..%3Fa",
                          "/a/..%23b",   "/..%253Fa",
                          "/..%2500",    "/..%257F",
                          "/.%2509./x"}) {
    const auto target = parse_target(raw);
    ASSERT_FALSE(target) << raw;
    EXPECT_EQ(std::string_view(target.error().why), dot_segment) << raw;
  }
  EXPECT_TRUE(parse_target("/%252525252e"));  // Who decodes five times reads another path.
}

TEST(Target, TellsAnEncodedSlashFromOtherEscapes) {
  for (const char* raw : {"/a%2Fb", "/a%2fb", "/%2F", "/a%2F%25"}) {
    const auto target = parse_target(raw);
    ASSERT_TRUE(target) << raw;
    EXPECT_EQ(std::string_view(target->ambiguous), encoded_slash) << raw;
  }
  for (const char* raw : {"/a%5Cb", "/a%252Fb", "/a%3Bb"}) {
    const auto target = parse_target(raw);
    ASSERT_TRUE(target) << raw;
    EXPECT_NE(std::string_view(target->ambiguous), encoded_slash) << raw;
  }
}

TEST(Target, HasOnePathOrNone) {
  struct {
    const char* raw;
    const char* path;  // nullptr: refused.
  } rows[] = {
      {"/", "/"},
      {"/a", "/a"},
      {"/a/", "/a/"},
      {"/a/b.c", "/a/b.c"},
      {"/a..b", "/a..b"},
      {"/...", "/..."},
      {"/.a", "/.a"},
      {"/a:b@c=d,e+f!g~h$i&j'k(l)m*n-o_p", "/a:b@c=d,e+f!g~h$i&j'k(l)m*n-o_p"},
      {"/%61", "/a"},
      {"/%7Ea", "/~a"},
      {"/read%20text", "/read text"},
      {"/caf%C3%A9", "/caf\xC3\xA9"},
      {"/%F0%9F%90%AD", "/\xF0\x9F\x90\xAD"},
      {"/a%3Fb", "/a?b"},
      {"/.", nullptr},
      {"/..", nullptr},
      {"/./a", nullptr},
      {"/a/.", nullptr},
      {"/a/./b", nullptr},
      {"/a/..", nullptr},
      {"/a/../b", nullptr},
      {"/%2e", nullptr},
      {"/%2E%2E/a", nullptr},
      {"/a/.%2e", nullptr},
      {"/a/%2e./b", nullptr},
      {"/a\\b", nullptr},
      {"/%00", nullptr},
      {"/a%00.png", nullptr},
      {"/%0a", nullptr},
      {"/%0D%0A", nullptr},
      {"/%1f", nullptr},
      {"/%7F", nullptr},
      {"/%", nullptr},
      {"/%4", nullptr},
      {"/%4g", nullptr},
      {"/%u0041", nullptr},
      {"/%%41", nullptr},
      {"/caf\xC3\xA9", nullptr},
      {"/%C3", nullptr},
      {"/%C3%28", nullptr},
      {"/%A9", nullptr},
      {"/%C0%AF", nullptr},
      {"/%C0%AE%C0%AE", nullptr},
      {"/%E0%80%AF", nullptr},
      {"/%ED%A0%80", nullptr},
      {"/%F4%90%80%80", nullptr},
      {"/%FE", nullptr},
      {"/%FF", nullptr},
      {"/a\"b", nullptr},
      {"/a<b", nullptr},
      {"/a{b}", nullptr},
      {"", nullptr},
      {"a", nullptr},
  };
  for (const auto& row : rows) {
    const auto target = parse_target(row.raw);
    EXPECT_EQ(target.has_value(), row.path != nullptr) << row.raw;
    if (target && row.path != nullptr) {
      EXPECT_EQ(target->path, row.path);
      EXPECT_EQ(target->ambiguous, nullptr) << row.raw;
    }
  }
}

// Decoding a second time, as somebody behind us may, changes nothing, or the path is ambiguous.
TEST(Target, NoEscapeSurvivesDecoding) {
  constexpr std::string_view digits = "0123456789abcdefABCDEF";
  int accepted = 0;
  for (const char high : digits) {
    for (const char low : digits) {
      for (const char* around : {"", "%", "%25", ".", "/", "%2e", "a", "%C3"}) {
        const std::string raw = std::string("/") + around + "%" + high + low + around;
        const auto target = parse_target(raw);
        if (!target) continue;
        ++accepted;
        const std::string& path = target->path;
        const bool is_ambiguous = target->ambiguous != nullptr;
        EXPECT_EQ(path.contains('%') || path.contains("//"), is_ambiguous) << raw;
        EXPECT_FALSE(path.contains("/../") || path.contains("/./") || path.ends_with("/..") ||
                     path.ends_with("/.") || path.contains('\\'))
            << raw;
      }
    }
  }
  EXPECT_GT(accepted, 400);
}

// Long ones are looked at eight bytes at a time: each byte, at each place in such a group and
// behind.
TEST(FieldValue, HoldsNoControlByteAnywhere) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_good = (byte >= 0x20 && byte != 0x7F) || byte == '\t';
    for (std::size_t at = 0; at < 20; ++at) {
      for (const char other : {'a', '\t', '\xFF', '~'}) {
        std::string text(20, other);
        text[at] = static_cast<char>(byte);
        EXPECT_EQ(is_field_value(text), is_good) << byte << " at " << at << " among " << other;
      }
    }
  }
  EXPECT_TRUE(is_field_value(""));
}

TEST(Query, FindsAValueByItsName) {
  constexpr std::string_view query = "a=1&b=x%20y+z&&c&d=&a=2&%65=5&f=%zz";
  EXPECT_EQ(query_value(query, "a"), "1");
  EXPECT_EQ(query_value(query, "b"), "x y z");
  EXPECT_EQ(query_value(query, "c"), "");
  EXPECT_EQ(query_value(query, "d"), "");
  EXPECT_EQ(query_value(query, "e"), "5");
  EXPECT_EQ(query_value(query, "f"), std::nullopt);
  EXPECT_EQ(query_value(query, "g"), std::nullopt);
  EXPECT_EQ(query_value("", "a"), std::nullopt);
  EXPECT_EQ(query_values(query, "a"), (std::vector<std::string>{"1", "2"}));
  EXPECT_TRUE(query_values(query, "f").empty());
}

// Eight bytes are looked at in one way, and what is left in another.
TEST(Token, IsMadeOfTheSameBytesWhereverTheyStand) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    const bool is_allowed =
        byte != 0 && (isalnum(byte) != 0 || std::string_view("!#$%&'*+-.^_`|~").contains(one[0]));
    for (std::size_t at = 0; at < 19; ++at) {
      const std::string text = std::string("Dormouse-Invocation").replace(at, 1, one);
      EXPECT_EQ(is_token(text), is_allowed) << byte << " at " << at;
    }
  }
}

}  // namespace
}  // namespace dormouse::http
