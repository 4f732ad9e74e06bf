// The server against raw bytes, on a clock that stands still: what a client sees, and when.
#include "http/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "async/sim_clock.h"

namespace dormouse::http {
namespace {

using namespace std::chrono_literals;

struct Noted {
  std::vector<std::string> requests;  // "POST /echo hello"
  int working = 0;
  bool grace_over = false;
};

class Working {
 public:
  explicit Working(Noted* noted) : noted_(noted) { ++noted_->working; }
  ~Working() { --noted_->working; }

 private:
  Noted* noted_;
};

asio::awaitable<Result<std::optional<std::string>>> next_piece(async::Clock* clock, int number) {
  co_await clock->sleep_until(clock->now() + 1s);
  if (number == 4) co_return Error{Code::function_failed, "crashed"};
  if (number == 3) co_return std::nullopt;
  co_return "piece " + std::to_string(number);
}

Fields sum_trailer() {
  Fields trailers;
  trailers.add("X-Sum", "7");
  return trailers;
}

Body file_with(std::string_view text) {
  const int memfd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(write(memfd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  return {memfd, 3, text.size() - 3};
}

// Answers by the path.
class FakeHandler final : public Handler {
 public:
  explicit FakeHandler(async::Clock* clock) : clock_(clock) {}

  Admission admit(const Head& head, bool loopback) override {
    EXPECT_TRUE(loopback);
    if (head.path == "/forbidden") return Response{.status = 403, .body = Body("no")};
    return Receiving{head.path == "/small" ? 10U : 10'000'000U};
  }

  asio::awaitable<Response> handle(Request request) override {
    const auto view = request.body.view();
    const std::string text(*view);
    noted.requests.push_back(request.head->method + " " + request.head->path + " " +
                             (text.size() > 100 ? std::to_string(text.size()) : text));
    last_memfd = request.body.memfd() >= 0;
    const Working working(&noted);
    Response response;
    if (request.head->path == "/wait") co_await clock_->sleep_until(never);
    if (request.head->path == "/second") co_await clock_->sleep_until(clock_->now() + 1s);
    if (request.head->path == "/none") response.status = 204;
    if (request.head->path == "/split") response.fields.add("X-A", "b\r\nX-B: c");
    if (request.head->path == "/owner") response.fields.add("Content-Length", "1000");
    if (request.head->path == "/stream" || request.head->path == "/cut") {
      auto number = std::make_shared<int>(request.head->path == "/cut" ? 3 : 0);
      response.body = Pieces([this, number] { return next_piece(clock_, ++*number); });
      response.trailers = sum_trailer;
    } else if (request.head->path == "/file") {
      response.body = file_with("---" + std::string(300'000, 'f'));
    } else {
      response.body = std::move(request.body);
    }
    co_return response;
  }

  void grace_is_over() override { noted.grace_over = true; }

  Noted noted;
  bool last_memfd = false;

 private:
  async::Clock* clock_;
};

// A client that sends any bytes.
class Peer {
 public:
  explicit Peer(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    fcntl(socket_, F_SETFL, O_NONBLOCK);
  }
  ~Peer() { hang_up(); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  std::size_t send(std::string_view bytes) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  void receive() {
    std::array<char, 65536> bytes;
    for (;;) {
      const ssize_t got = recv(socket_, bytes.data(), bytes.size(), 0);
      if (got == 0) closed = true;
      if (got < 0 && errno == ECONNRESET) reset = true;
      if (got <= 0) return;
      text.append(bytes.data(), static_cast<std::size_t>(got));
    }
  }
  void wait() {
    pollfd polled{.fd = socket_, .events = POLLIN, .revents = 0};
    poll(&polled, 1, 1);
  }
  void hang_up() {
    if (socket_ >= 0) close(std::exchange(socket_, -1));
  }
  void shut_sending() { shutdown(socket_, SHUT_WR); }

  // What came since the last call, without its Date.
  std::string take() {
    std::string taken = std::exchange(text, {});
    for (std::size_t at = taken.find("Date: "); at != taken.npos; at = taken.find("Date: ")) {
      taken.erase(at, taken.find('\n', at) + 1 - at);
    }
    return taken;
  }

  std::string text;
  bool closed = false;
  bool reset = false;

 private:
  int socket_;
};

struct World {
  explicit World(Limits limits = {}, Refusal refusal = {}) {
    auto listening = listen(io.get_executor(), &clock, &handler,
                            {.port = 0, .limits = limits, .refusal = std::move(refusal)});
    EXPECT_TRUE(listening);
    server = *std::move(listening);
  }

  Peer peer() { return Peer(server->port()); }
  void run() { clock.run_until(clock.now()); }
  void pass(Duration time) {
    run();
    clock.run_until(clock.now() + time);
  }
  // Until `done` or for as long as the kernel may reasonably take.
  template <class Done>
  void run_until(Peer& peer, Done done) {
    for (int i = 0; i < 2000 && !done(); ++i) {
      run();
      peer.receive();
      if (!done()) peer.wait();
    }
    EXPECT_TRUE(done()) << peer.text;
  }
  // Everything up to and including `ending`.
  std::string answer(Peer& peer, std::string_view ending) {
    run_until(peer, [&] { return peer.text.ends_with(ending); });
    return peer.take();
  }
  void expect_closed(Peer& peer) {
    run_until(peer, [&] { return peer.closed || peer.reset; });
    EXPECT_FALSE(peer.reset);
  }
  void expect_quiet(Peer& peer) {
    for (int i = 0; i < 5; ++i) {
      run();
      peer.wait();
    }
    peer.receive();
    EXPECT_EQ(peer.text, "");
    EXPECT_FALSE(peer.closed);
  }
  std::vector<std::string>& seen() { return handler.noted.requests; }

  asio::io_context io;
  async::SimClock clock{io};
  FakeHandler handler{&clock};
  std::unique_ptr<Server> server;
};

std::string get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n\r\n";
}
std::string post(std::string_view path, std::string_view body) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

TEST(Server, AnswersAndKeepsTheConnection) {
  World world;
  Peer peer = world.peer();
  for (int i = 0; i < 3; ++i) {
    peer.send(post("/echo", "hello"));
    EXPECT_EQ(world.answer(peer, "hello"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  }
  EXPECT_EQ(world.server->counters().connections_total, 1);
  EXPECT_EQ(world.server->counters().requests_total, 3);
}

TEST(Server, SaysWhatTimeItIs) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/echo"));
  world.run_until(peer, [&] { return peer.text.ends_with("\r\n\r\n"); });
  EXPECT_TRUE(peer.text.contains("\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n")) << peer.text;
}

TEST(Server, ARequestNeverSeesBytesOfTheNext) {
  const std::string pipelined =
      post("/echo", "one") + get("/none") + post("/echo", "two") +
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\nth\r\n3\r\nree\r\n0\r\nX: y\r\n\r\n" +
      get("/echo") + post("/echo", "four!");
  const std::vector<std::string> expected = {"POST /echo one",   "GET /none ", "POST /echo two",
                                             "POST /echo three", "GET /echo ", "POST /echo four!"};
  for (std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{50}, pipelined.size()}) {
    World world;
    Peer peer = world.peer();
    for (std::size_t at = 0; at < pipelined.size(); at += step) {
      peer.send(std::string_view(pipelined).substr(at, step));
      world.run();
    }
    world.answer(peer, "four!");
    EXPECT_EQ(world.seen(), expected) << "in pieces of " << step;
  }
}

TEST(Server, TheSameHeadAgainIsTheSameRequestAgain) {
  const auto long_one = [](std::string_view path) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\nX: " + std::string(1500, 'x') +
           "\r\n\r\n";
  };
  const std::string pipelined = post("/echo", "one") + post("/echo", "two") +
                                post("/echo", "three") + get("/echo") + get("/echo") +
                                get("/none") + long_one("/echo") + long_one("/echo") +
                                long_one("/none") + post("/echo", "six") + post("/echo", "seven");
  const std::vector<std::string> expected = {
      "POST /echo one", "POST /echo two", "POST /echo three", "GET /echo ",
      "GET /echo ",     "GET /none ",     "GET /echo ",       "GET /echo ",
      "GET /none ",     "POST /echo six", "POST /echo seven"};
  for (std::size_t step : {std::size_t{1}, std::size_t{13}, std::size_t{500}, pipelined.size()}) {
    World world;
    Peer peer = world.peer();
    for (std::size_t at = 0; at < pipelined.size(); at += step) {
      peer.send(std::string_view(pipelined).substr(at, step));
      world.run();
    }
    world.answer(peer, "seven");
    EXPECT_EQ(world.seen(), expected) << "in pieces of " << step;
  }
}

TEST(Server, HeadAndNoContentHaveNoBody) {
  World world;
  Peer peer = world.peer();
  peer.send("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n" + get("/none") + post("/echo", "x"));
  EXPECT_EQ(world.answer(peer, "x"),
            "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
            "HTTP/1.1 204 No Content\r\n\r\n"
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
}

TEST(Server, SendsAFileFromItsOffset) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/file"));
  world.run_until(peer, [&] { return peer.text.size() > 300'000 && peer.text.ends_with("ff"); });
  EXPECT_FALSE(peer.text.contains("---"));
  EXPECT_EQ(peer.text.size() - peer.text.find("\r\n\r\n") - 4, 300'000);
}

TEST(Server, OldClientsGetWhatTheyAskFor) {
  World world;
  Peer kept = world.peer();
  kept.send("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(world.answer(kept, "\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
  Peer closed = world.peer();
  closed.send("GET /echo HTTP/1.0\r\n\r\n");
  EXPECT_EQ(world.answer(closed, "\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  world.expect_closed(closed);
  Peer stream = world.peer();
  stream.send("GET /stream HTTP/1.0\r\n\r\n");
  world.pass(3s);
  world.expect_closed(stream);
  EXPECT_EQ(stream.take(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npiece 1piece 2");
}

TEST(Server, LongBodiesLieInAFile) {
  for (const bool chunked : {false, true}) {
    World world({.inline_body_bytes_max = 1000});
    Peer peer = world.peer();
    const std::string small(1000, 's');
    const std::string large(1001, 'l');
    for (const std::string& body : {small, large}) {
      const std::string half = body.substr(0, 500);
      const std::string rest = body.substr(500);
      peer.send(
          chunked ? "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" +
                        half + (rest.size() == 500 ? "\r\n1f4\r\n" : "\r\n1f5\r\n") + rest +
                        "\r\n0\r\n\r\n"
                  : post("/echo", body));
      EXPECT_TRUE(world.answer(peer, body.substr(900)).ends_with("\r\n\r\n" + body));
      EXPECT_EQ(world.handler.last_memfd, body.size() > 1000) << chunked;
    }
  }
}

TEST(Server, LongBodiesTogetherHaveABound) {
  World world({.inline_body_bytes_max = 1000, .bodies_bytes_max = 5000});
  const std::string large(4000, 'l');
  Peer first = world.peer();
  first.send(post("/second", large));
  world.run_until(first, [&] { return world.handler.noted.working == 1; });
  Peer second = world.peer();
  second.send(post("/echo", large));
  world.expect_closed(second);
  EXPECT_TRUE(second.text.starts_with("HTTP/1.1 503 ")) << second.text;
  Peer small = world.peer();
  small.send(post("/echo", "small"));
  EXPECT_TRUE(world.answer(small, "small").starts_with("HTTP/1.1 200 "));
  world.pass(1s);
  EXPECT_TRUE(world.answer(first, large).starts_with("HTTP/1.1 200 "));
  Peer third = world.peer();
  third.send(post("/none", large));
  EXPECT_TRUE(world.answer(third, "\r\n\r\n").starts_with("HTTP/1.1 204 "));
  Peer fourth = world.peer();
  fourth.send(get("/file"));  // Of 300,000 bytes.
  EXPECT_TRUE(world.answer(fourth, "as it may; call it again\n").starts_with("HTTP/1.1 503 "));
}

TEST(Server, ALargeChunkedBodyArrivesWhole) {
  World world;
  Peer peer = world.peer();
  std::string raw = "POST /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 30; ++i) raw += "186a0\r\n" + std::string(100'000, 'c') + "\r\n";
  raw += "0\r\n\r\n";
  std::size_t sent = 0;
  world.run_until(peer, [&] {
    sent += peer.send(std::string_view(raw).substr(sent));
    return !world.seen().empty();
  });
  EXPECT_EQ(world.seen().front(), "POST /none 3000000");
}

TEST(Server, TellsTheClientToContinueOnlyIfItsBodyIsWanted) {
  World world;
  Peer wanted = world.peer();
  const std::string head =
      " HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
  wanted.send("POST /echo" + head);
  EXPECT_EQ(world.answer(wanted, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wanted.send("hello");
  EXPECT_EQ(world.answer(wanted, "hello"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");

  Peer unwanted = world.peer();
  unwanted.send("POST /forbidden" + head);
  EXPECT_EQ(world.answer(unwanted, "no"),
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
  world.expect_closed(unwanted);
  EXPECT_EQ(world.seen().size(), 1);
}

TEST(Server, ARefusedShortBodyIsSkippedAndTheConnectionKept) {
  World world;
  Peer peer = world.peer();
  peer.send(post("/forbidden", "hello") + post("/echo", "next"));
  EXPECT_TRUE(world.answer(peer, "next").starts_with("HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_EQ(world.seen(), std::vector<std::string>{"POST /echo next"});
}

TEST(Server, RefusesAndClosesWithTheStatusThatFits) {
  struct {
    const char* status;
    std::string raw;
  } rows[] = {
      {"400 Bad Request", "GET / HTTP/1.1\r\n\r\n"},
      {"400 Bad Request", "\x16\x03\x01"},
      {"400 Bad Request", "GET /%2e%2e HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400 Bad Request", "GET /a//b HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"400 Bad Request",
       "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"},
      {"400 Bad Request",
       "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"413 Content Too Large", "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"},
      {"413 Content Too Large",
       "POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n"},
      {"413 Content Too Large",
       "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"},
      {"414 URI Too Long", "GET /" + std::string(10'000, 'a')},
      {"415 Unsupported Media Type",
       "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"},
      {"431 Request Header Fields Too Large",
       "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(40'000, 'a')},
      {"501 Not Implemented", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"505 HTTP Version Not Supported", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
  };
  World world;
  for (const auto& row : rows) {
    Peer peer = world.peer();
    peer.send(row.raw);
    world.expect_closed(peer);
    EXPECT_TRUE(peer.text.starts_with("HTTP/1.1 " + std::string(row.status) + "\r\n"))
        << row.raw.substr(0, 100) << "\n"
        << peer.text;
    EXPECT_TRUE(peer.text.contains("\r\nConnection: close\r\n"));
  }
  EXPECT_TRUE(world.seen().empty());
  EXPECT_EQ(world.server->counters().refused_total, std::size(rows));
}

Response say_path(int status, std::string_view, std::string_view path) {
  return {.status = status, .body = Body("of [" + std::string(path) + "]")};
}

TEST(Server, WhoSaysWhyARequestIsRefusedKnowsItsPath) {
  const std::string chunked = "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string long_path = "/" + std::string(10'000, 'a');
  struct {
    int status;
    std::string raw;
    std::string path;
  } rows[] = {
      {400, "GET /v1/models/a%2Fb?c HTTP/1.1\r\nHost: a\r\n\r\n", "/v1/models/a%2Fb"},
      {400, "GET /v1/%zz HTTP/1.1\r\nHost: a\r\n\r\n", "/v1/%zz"},
      {400, "GET http://a/v1/%zz HTTP/1.1\r\nHost: a\r\n\r\n", "/v1/%zz"},
      {400, "GET /a HTTP/1.1\r\nContent-Type: b\r\nContent-Type: b\r\n\r\n", "/a"},
      {400, "POST /echo HTTP/1.1\r\n" + chunked + "x\r\n", "/echo"},
      {400, "\x16\x03\x01", ""},
      {413, "POST /small HTTP/1.1\r\n" + chunked + "b\r\n", "/small"},
      {413, "POST /sm%61ll HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", "/small"},
      {414, "GET " + long_path, long_path},
      {415, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n\r\n", "/a"},
      {431, "GET /a HTTP/1.1\r\nHost: a\r\nX: " + std::string(40'000, 'a'), "/a"},
      {500, get("/split") + "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", "/split"},
  };
  World world({}, say_path);
  for (const auto& row : rows) {
    Peer peer = world.peer();
    peer.send(row.raw);
    world.expect_closed(peer);
    const std::string wanted = "\r\n\r\nof [" + row.path + "]";
    EXPECT_TRUE(peer.text.starts_with("HTTP/1.1 " + std::to_string(row.status))) << peer.text;
    EXPECT_TRUE(peer.text.contains(wanted)) << row.raw.substr(0, 100) << "\n" << peer.text;
  }
}

TEST(Server, WhoSaysWhyARequestIsTooSlowKnowsItsPath) {
  World world({.header_timeout = 10s, .body_bytes_per_second_min = 1024}, say_path);
  Peer kept = world.peer();
  kept.send(post("/echo", "hello"));
  world.answer(kept, "hello");
  kept.send("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  Peer head = world.peer();
  head.send("GET /head HTTP/1.1\r\nHost: ");
  Peer line = world.peer();
  line.send("GE");
  for (int i = 0; i < 30; ++i) world.pass(1s);
  for (Peer* each : {&kept, &head, &line}) world.expect_closed(*each);
  EXPECT_TRUE(kept.text.starts_with("HTTP/1.1 408 ")) << kept.text;
  EXPECT_TRUE(kept.text.ends_with("of [/body]")) << kept.text;
  EXPECT_TRUE(head.text.ends_with("of [/head]")) << head.text;
  EXPECT_TRUE(line.text.ends_with("of []")) << line.text;
}

// A client that is still sending must not have its connection reset before it reads why.
TEST(Server, TheAnswerOfARefusedUploadArrives) {
  World world;
  Peer peer = world.peer();
  peer.send("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  std::size_t sent = 0;
  const std::string body(1'000'000, 'b');
  world.run_until(peer, [&] {
    sent += peer.send(std::string_view(body).substr(sent));
    return sent == body.size();
  });
  peer.shut_sending();
  world.expect_closed(peer);
  EXPECT_TRUE(peer.text.starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(peer.text.contains("a body that is too long: at most 10 bytes")) << peer.text;
}

TEST(Server, TextOfAFunctionCannotSplitAnAnswer) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/split"));
  const std::string answer = world.answer(peer, "sent\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << answer;
  EXPECT_FALSE(answer.contains("X-B"));
  peer.send(post("/owner", "abc"));
  EXPECT_EQ(world.answer(peer, "abc"), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
}

TEST(Server, StreamsPiecesAsTheyComeAndThenTheTrailers) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/stream"));
  EXPECT_EQ(world.answer(peer, "\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  world.pass(1s);
  EXPECT_EQ(world.answer(peer, "piece 1\r\n"), "7\r\npiece 1\r\n");
  world.pass(1s);
  EXPECT_EQ(world.answer(peer, "piece 2\r\n"), "7\r\npiece 2\r\n");
  world.pass(1s);
  EXPECT_EQ(world.answer(peer, "\r\n\r\n"), "0\r\nX-Sum: 7\r\n\r\n");
  peer.send(post("/echo", "kept"));
  world.answer(peer, "kept");
}

TEST(Server, AStreamThatFailsIsSeenToBeCut) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/cut"));
  world.pass(1s);
  world.expect_closed(peer);
  EXPECT_TRUE(peer.take().ends_with("Transfer-Encoding: chunked\r\n\r\n")) << "and no last chunk";
}

TEST(Server, CancelsTheHandlerWhenTheClientHangsUp) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/wait"));
  world.run_until(peer, [&] { return world.handler.noted.working == 1; });
  world.pass(10min);
  EXPECT_EQ(world.handler.noted.working, 1) << "a slow Handler is nobody's fault";
  peer.hang_up();
  world.pass(100ms);
  EXPECT_EQ(world.handler.noted.working, 0);
  world.run();
  EXPECT_EQ(world.server->counters().connections_open, 0);
}

TEST(Server, CancelsAStreamWhenTheClientHangsUp) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/stream"));
  world.answer(peer, "\r\n\r\n");
  peer.hang_up();
  world.pass(200ms);
  EXPECT_EQ(world.server->counters().connections_open, 0);
}

TEST(Server, SlowHeadsAreCut) {
  World world({.header_timeout = 10s});
  Peer silent = world.peer();
  Peer slow = world.peer();
  slow.send("GET / HTTP/1.1\r\n");
  world.expect_quiet(slow);
  for (int i = 0; i < 9; ++i) {
    world.pass(1s);
    slow.send("X: y\r\n");
  }
  world.expect_quiet(slow);
  world.pass(1100ms);
  world.expect_closed(silent);
  EXPECT_EQ(silent.text, "");
  world.run_until(slow, [&] { return slow.closed; });
  EXPECT_TRUE(slow.text.starts_with("HTTP/1.1 408 ")) << slow.text;
}

TEST(Server, IdleConnectionsAreClosed) {
  World world({.idle_timeout = 75s});
  Peer peer = world.peer();
  peer.send(post("/echo", "x"));
  world.answer(peer, "x");
  world.pass(74s);
  world.expect_quiet(peer);
  world.pass(1100ms);
  world.expect_closed(peer);
  EXPECT_EQ(peer.text, "");
}

TEST(Server, BodiesSlowerThanTheMinimumAreCut) {
  World world({.body_bytes_per_second_min = 1024});
  Peer slow = world.peer();
  Peer steady = world.peer();
  slow.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  steady.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  for (int i = 0; i < 30; ++i) {
    slow.send("x");
    steady.send(std::string(1100, 'x'));
    world.pass(1s);
  }
  world.expect_quiet(steady);
  slow.receive();
  EXPECT_TRUE(slow.text.starts_with("HTTP/1.1 408 ")) << slow.text;
}

TEST(Server, OneWhoReadsNothingIsCut) {
  World world({.write_timeout = 30s});
  Peer peer = world.peer();
  for (int i = 0; i < 100; ++i) peer.send(get("/file"));
  world.pass(29s);
  EXPECT_EQ(world.server->counters().connections_open, 1);
  EXPECT_LT(world.seen().size(), 100) << "the next request waits for the answer to be read";
  world.pass(2s);
  world.run();
  EXPECT_EQ(world.server->counters().connections_open, 0);
}

TEST(Server, OneWhoReadsTooSlowlyIsCut) {
  World world({.body_bytes_per_second_min = 1'000'000, .write_timeout = 30s});
  Peer peer = world.peer();
  for (int i = 0; i < 100; ++i) peer.send(get("/file"));
  world.pass(20s);
  EXPECT_EQ(world.server->counters().connections_open, 1);
  peer.receive();  // Some megabytes, in 20 seconds.
  world.pass(20s);
  world.run();
  EXPECT_EQ(world.server->counters().connections_open, 0);
}

TEST(Server, OneConnectionTooManyIsToldSo) {
  World world({.connections_max = 2}, say_path);
  Peer one = world.peer();
  Peer two = world.peer();
  one.send(post("/echo", "1"));
  two.send(post("/echo", "2"));
  world.answer(one, "1");
  world.answer(two, "2");
  Peer three = world.peer();
  three.send(get("/echo"));
  world.expect_closed(three);
  EXPECT_TRUE(three.text.starts_with("HTTP/1.1 503 ")) << three.text;
  EXPECT_TRUE(three.text.ends_with("of []")) << "nothing was read of it";
  three.hang_up();
  two.hang_up();
  world.pass(3s);
  Peer four = world.peer();
  four.send(post("/echo", "4"));
  world.answer(four, "4");
}

TEST(Server, WithoutDescriptorsItSaysSoAndDoesNotSpin) {
  World world;
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 5; ++i) peers.push_back(std::make_unique<Peer>(world.server->port()));
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const int next = dup(0);
  close(next);
  const rlimit none{.rlim_cur = static_cast<rlim_t>(next), .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  world.run();
  const std::size_t steps = world.io.poll();
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(steps, 0) << "nothing is left to do once all were answered";
  for (auto& peer : peers) {
    world.expect_closed(*peer);
    EXPECT_TRUE(peer->text.starts_with("HTTP/1.1 503 ")) << peer->text;
  }
  Peer peer = world.peer();
  peer.send(post("/echo", "again"));
  world.answer(peer, "again");
}

struct Stopping {
  World* world;
  bool done = false;

  void begin(Duration grace) {
    auto work = world->server->stop(grace);
    asio::co_spawn(world->io, std::move(work), [this](std::exception_ptr) { done = true; });
    world->run();
  }
};

TEST(Server, StopLetsRequestsEndAndTheRestGo) {
  World world;
  Peer idle = world.peer();
  idle.send(post("/echo", "x"));
  world.answer(idle, "x");
  Peer busy = world.peer();
  busy.send(get("/second"));
  world.run_until(busy, [&] { return world.handler.noted.working == 1; });
  Stopping stopping{&world};
  stopping.begin(10s);
  world.expect_closed(idle);
  EXPECT_FALSE(stopping.done);
  world.pass(1s);
  EXPECT_EQ(world.answer(busy, "\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  world.expect_closed(busy);
  world.run();
  EXPECT_TRUE(stopping.done);
}

TEST(Server, StopCancelsWhatOutlastsItsGrace) {
  World world;
  Peer peer = world.peer();
  peer.send(get("/wait"));
  world.run_until(peer, [&] { return world.handler.noted.working == 1; });
  Stopping stopping{&world};
  stopping.begin(10s);
  world.pass(9s);
  EXPECT_FALSE(stopping.done);
  EXPECT_FALSE(world.handler.noted.grace_over);
  world.pass(1100ms);
  EXPECT_TRUE(world.handler.noted.grace_over);
  EXPECT_FALSE(stopping.done);
  world.pass(600ms);
  world.run();
  EXPECT_TRUE(stopping.done);
  EXPECT_EQ(world.handler.noted.working, 0);
  EXPECT_EQ(world.server->counters().connections_open, 0);
}

TEST(Server, StopOfAnIdleServerIsImmediate) {
  World world;
  Stopping stopping{&world};
  stopping.begin(10s);
  world.run();
  EXPECT_TRUE(stopping.done);
}

TEST(Server, DestroyingItCancelsEverything) {
  World world;
  Peer busy = world.peer();
  Peer idle = world.peer();
  busy.send(get("/wait"));
  idle.send("GET");
  world.run_until(busy, [&] { return world.handler.noted.working == 1; });
  world.server.reset();
  world.run();
  EXPECT_EQ(world.handler.noted.working, 0);
  world.expect_closed(busy);
}

TEST(Server, MayBeDestroyedWithItsExecutor) {
  World world;
  Peer peer = world.peer();
  peer.send("GET");
  world.expect_quiet(peer);
  EXPECT_EQ(world.server->counters().connections_open, 1);
}

TEST(Server, SleepsWhileThereIsNothingToEnforce) {
  World world;
  world.pass(1h);
  const TimePoint before = world.clock.now();
  world.io.restart();
  EXPECT_EQ(world.io.poll(), 0);
  EXPECT_EQ(world.clock.now(), before);
}

TEST(Server, ATakenPortIsAConflict) {
  World world;
  const auto second =
      listen(world.io.get_executor(), &world.clock, &world.handler, {.port = world.server->port()});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
  const auto bad = listen(world.io.get_executor(), &world.clock, &world.handler, {.host = "x y"});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, Code::invalid_argument);
}

}  // namespace
}  // namespace dormouse::http
