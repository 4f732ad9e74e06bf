// What is passed on to a server, and what is believed of what it says.
#include "http/upstream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <future>

namespace dormouse::http {
namespace {

Fields fields_of(std::initializer_list<std::pair<const char*, const char*>> all) {
  Fields fields;
  for (const auto& [name, value] : all) fields.add(name, value);
  return fields;
}

TEST(RequestHead, LeavesOutWhatIsOfTheConnectionAndNothingElse) {
  const Fields from = fields_of({{"Host", "x"},
                                 {"Connection", "X-Own, keep-alive, host, X-Forwarded-Host"},
                                 {"X-Forwarded-Host", "y"},
                                 {"X-Own", "1"},
                                 {"Transfer-Encoding", "chunked"},
                                 {"TE", "trailers"},
                                 {"Upgrade", "h2c"},
                                 {"Authorization", "Bearer secret"},
                                 {"X-Forwarded-For", "6.6.6.6"},
                                 {"Accept", "*/*"}});
  const Fields further = fields_of({{"X-Forwarded-For", "127.0.0.1"}});
  const OutgoingHead head{.method = "POST",
                          .target = "/a%20b/%c3%bc?q=%2F?",
                          .fields = from,
                          .left_out = {"authorization"},
                          .further = further,
                          .size = 3,
                          .upgrade = ""};
  EXPECT_EQ(request_head(head),
            "POST /a%20b/%c3%bc?q=%2F? HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: y\r\n"
            "Accept: */*\r\nX-Forwarded-For: 127.0.0.1\r\nContent-Length: 3\r\n\r\n");
}

TEST(ResponseHead, IsReadInOneWay) {
  const auto read = [](const std::string& text, bool to_head = false) {
    return parse_response_head(text + "\r\n\r\n", {}, to_head);
  };
  const auto sized = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX_Odd: 1");
  ASSERT_TRUE(sized);
  EXPECT_EQ(sized->content_length, 5u);
  EXPECT_TRUE(sized->keep_alive && sized->has_body && !sized->chunked);
  EXPECT_TRUE(read("HTTP/1.1 200")->has_body);
  EXPECT_FALSE(read("HTTP/1.0 200 OK")->keep_alive);
  EXPECT_FALSE(read("HTTP/1.1 200 OK\r\nConnection: close")->keep_alive);
  EXPECT_FALSE(read("HTTP/1.1 204 No Content")->has_body);
  EXPECT_FALSE(read("HTTP/1.1 304 Not Modified\r\nContent-Length: 9")->has_body);
  EXPECT_FALSE(read("HTTP/1.1 200 OK\r\nContent-Length: 9", true)->has_body);
  EXPECT_TRUE(read("HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED")->chunked);
  for (const char* bad :
       {"HTTP/1.1 20 OK", "HTTP/1.1 2000", "HTTP/1.1 099 x", "HTTP/1.1 600 x", "HTTP/2 200 OK",
        "ICY 200 OK", "HTTP/1.1 200 a\x01", "HTTP/1.1 200 OK\r\n X: folded",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", "HTTP/1.1 200 OK\r\nContent-Length: +1",
        "HTTP/1.1 200 OK\r\nX : 1"}) {
    EXPECT_FALSE(read(bad)) << bad;
  }
}

// The other end of an Upstream.
class Server {
 public:
  explicit Server(asio::io_context* io) : io_(io) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    upstream = std::make_unique<Upstream>(io->get_executor(), ends[0]);
    end_ = ends[1];
  }
  ~Server() { close(); }

  void say(std::string_view text) const {
    EXPECT_EQ(write(end_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void close() {
    if (end_ >= 0) ::close(end_);
    end_ = -1;
  }
  std::string heard() const {
    char text[4096];
    const ssize_t size = recv(end_, text, sizeof(text), MSG_DONTWAIT);
    return {text, static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  }

  template <class T>
  T run(asio::awaitable<T> work) {
    auto done = asio::co_spawn(io_->get_executor(), std::move(work), asio::use_future);
    io_->restart();
    io_->run();
    return done.get();
  }

  // The body to its end, or why there is none.
  std::string body() {
    const auto all = [](Upstream* from) -> asio::awaitable<std::string> {
      auto receiving = from->response(false);
      const auto head = co_await std::move(receiving);
      if (!head) co_return "head: " + head.error().message;
      std::string text;
      for (;;) {
        auto reading = from->read();
        const auto piece = co_await std::move(reading);
        if (!piece) co_return text + " cut: " + piece.error().message;
        if (!*piece) co_return text;
        text += **piece;
      }
    };
    return run(all(upstream.get()));
  }

  std::unique_ptr<Upstream> upstream;

 private:
  asio::io_context* io_;
  int end_ = -1;
};

TEST(Upstream, ReadsABodyHoweverItIsFramed) {
  asio::io_context io;
  struct {
    const char* text;
    const char* body;
    bool reusable;
  } rows[] = {
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello",
       true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\nA: "
       "b\r\n\r\n",
       "hello", true},
      {"HTTP/1.1 204 None\r\n\r\n", "", true},
      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "x", false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz", "x", false},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
       " cut: the program answered with ", false},
      {"nonsense\r\n\r\n", "head: the program answered with ", false},
  };
  for (const auto& row : rows) {
    Server server(&io);
    server.say(row.text);
    const std::string got = server.body();
    EXPECT_TRUE(got.starts_with(row.body) && (*row.body != '\0' || got.empty())) << row.text << got;
    EXPECT_EQ(server.upstream->is_reusable(), row.reusable) << row.text;
  }
}

TEST(Upstream, ReadsAFewInterimResponsesAndNotMore) {
  asio::io_context io;
  for (const int interim : {64, 65}) {
    Server server(&io);
    for (int i = 0; i < interim; ++i) server.say("HTTP/1.1 103 Early Hints\r\n\r\n");
    server.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const char* const refused = "head: the program answered with too many interim responses (1xx)";
    EXPECT_EQ(server.body(), interim <= 64 ? "ok" : refused);
  }
}

TEST(Upstream, TellsAnEndThatIsMeantFromOneThatIsNot) {
  asio::io_context io;
  Server closes(&io);
  closes.say("HTTP/1.1 200 OK\r\n\r\nall of it");
  closes.close();
  EXPECT_EQ(closes.body(), "all of it");
  EXPECT_FALSE(closes.upstream->is_reusable());
  Server cuts(&io);
  cuts.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  cuts.close();
  EXPECT_EQ(cuts.body(), "half cut: the program closed the connection in the midst of its answer");
  Server gone(&io);
  gone.close();
  EXPECT_EQ(gone.body(), "head: the program closed the connection before it had answered");
}

TEST(Upstream, IsNotReusedOnceTheServerHasClosed) {
  asio::io_context io;
  Server server(&io);
  EXPECT_FALSE(server.upstream->was_used());
  server.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_EQ(server.body(), "ok");
  EXPECT_TRUE(server.upstream->was_used());
  EXPECT_TRUE(server.upstream->is_reusable());
  server.upstream->begin_request();
  EXPECT_FALSE(server.upstream->is_reusable());  // What comes next would be read as its rest.
  server.upstream->end_request();
  EXPECT_TRUE(server.upstream->is_reusable());
  server.close();
  EXPECT_FALSE(server.upstream->is_reusable());
}

TEST(Upstream, GivesAWholeBodyAtOnceOrLeavesItToBeRead) {
  asio::io_context io;
  Server server(&io);
  server.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo");
  const auto head = server.run(server.upstream->response(false));
  ASSERT_TRUE(head);
  EXPECT_EQ(server.upstream->take_whole(), std::nullopt);
  server.say("dy");
  const auto piece = server.run(server.upstream->read());
  ASSERT_TRUE(piece && *piece);
  EXPECT_EQ(**piece, "bo");
  EXPECT_TRUE(server.run(server.upstream->send("GET")));
  EXPECT_TRUE(server.run(server.upstream->send_chunk("abc")));
  EXPECT_TRUE(server.run(server.upstream->send_chunk("")));
  EXPECT_EQ(server.heard(), "GET3\r\nabc\r\n0\r\n\r\n");
}

}  // namespace
}  // namespace dormouse::http
