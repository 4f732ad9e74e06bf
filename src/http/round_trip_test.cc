// The client and the server with each other, over a real connection and a real clock.
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <thread>

#include "http/client.h"
#include "http/server.h"

namespace dormouse::http {
namespace {

using namespace std::chrono_literals;

asio::awaitable<Result<std::optional<std::string>>> next_piece(int left) {
  if (left < 0) co_return std::nullopt;
  co_return std::string(100'000, static_cast<char>('0' + left));
}

Fields sum_trailer() {
  Fields trailers;
  trailers.add("X-Sum", "7");
  return trailers;
}

// The last byte, then the first two.
Spliced spliced(Body body) {
  const std::uint64_t end = body.size() - 1;
  Spliced all{.head = "head:", .of = std::move(body), .parts = {}};
  for (const Spliced::Part part : {Spliced::Part{end, 1}, {7, 0}, {0, 1}, {1, 1}}) all.add(part);
  EXPECT_EQ(all.parts, (std::vector<Spliced::Part>{{end, 1}, {0, 2}}));
  EXPECT_EQ(all.size(), 8u);
  return all;
}

class Echo final : public Handler {
 public:
  static constexpr std::uint64_t header_bytes = 131;

  explicit Echo(async::Clock* clock) : clock_(clock) {}

  Admission admit(const Head& head, bool) override {
    if (head.path == "/behind") return Receiving{std::uint64_t{16} << 20, header_bytes};
    return Receiving{head.path == "/small" ? 10 : std::uint64_t{16} << 20};
  }

  asio::awaitable<Response> handle(Request request) override {
    Response response;
    response.fields.add("X-Path", request.head->path);
    if (request.head->path == "/behind") {
      const std::uint64_t begin = request.body.offset() + header_bytes;
      response.fields.add("X-Aligned", begin % aligned_bytes == 0 ? "yes" : "no");
    }
    if (request.head->path == "/spliced") {
      response.body = spliced(std::move(request.body));
      co_return response;
    }
    response.body = std::move(request.body);
    if (request.head->path == "/wait") co_await clock_->sleep_until(never);
    if (request.head->path == "/stream") {
      response.body = Pieces([left = std::make_shared<int>(3)] { return next_piece(--*left); });
      response.trailers = sum_trailer;
    }
    co_return response;
  }

 private:
  async::Clock* clock_;
};

class RoundTrip : public testing::Test {
 protected:
  void SetUp() override {
    auto listening = listen(io_.get_executor(), clock_.get(), &echo_,
                            {.port = 0, .limits = {.idle_timeout = 20ms}});
    ASSERT_TRUE(listening) << listening.error().message;
    server_ = *std::move(listening);
    loop_ = std::thread([this] { io_.run(); });
    auto client = connect("http://127.0.0.1:" + std::to_string(server_->port()));
    ASSERT_TRUE(client);
    client_ = *std::move(client);
  }
  void TearDown() override {
    io_.stop();
    loop_.join();
  }

  // Asked where the server lives.
  Counters counters() {
    std::promise<Counters> answer;
    asio::post(io_, [&] { answer.set_value(server_->counters()); });
    return answer.get_future().get();
  }

  asio::io_context io_;
  std::unique_ptr<async::Clock> clock_ = async::system_clock();
  Echo echo_{clock_.get()};
  std::unique_ptr<Server> server_;
  std::thread loop_;
  std::unique_ptr<Client> client_;
};

TEST_F(RoundTrip, BodiesOfAnySizeGoThereAndBack) {
  for (const std::size_t size : {0u, 5u, 5'000u, 48u * 1024, 48u * 1024 + 1, 5'000'000u}) {
    std::string body(size, 'x');
    for (std::size_t i = 0; i < size; i += 997) body[i] = static_cast<char>(i);
    const ClientRequest request{.method = "POST", .target = "/f/e%C3%A9?a=1", .body = body};
    const auto response = client_->send(request);
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->fields.find("x-path"), "/f/e\xC3\xA9");
    EXPECT_TRUE(response->body == body) << size;
  }
}

TEST_F(RoundTrip, ABodyMayBePutTogetherOfPartsOfAnother) {
  for (const std::size_t size : {5'000u, 5'000'000u}) {  // In memory, and in a memfd.
    const std::string body = "ab" + std::string(size, 'x') + "c";
    const ClientRequest request{.method = "POST", .target = "/spliced", .body = body};
    for (int i = 0; i < 2; ++i) {
      const auto response = client_->send(request);
      ASSERT_TRUE(response) << response.error().message;
      EXPECT_EQ(response->body, "head:cab");
    }
  }
  const auto none = client_->send({.method = "POST", .target = "/spliced", .body = "ab"});
  ASSERT_TRUE(none);
  EXPECT_EQ(none->body, "head:bab");
}

TEST_F(RoundTrip, WhatIsBehindAHeaderIsReceivedAligned) {
  for (const std::size_t size : {48u * 1024 + 1, 3'000'000u}) {
    const std::string body(size, 'x');
    const auto sent = client_->send({.method = "POST", .target = "/behind", .body = body});
    ASSERT_TRUE(sent) << sent.error().message;
    EXPECT_EQ(sent->fields.find("x-aligned"), "yes");
    EXPECT_TRUE(sent->body == body);
  }
}

TEST_F(RoundTrip, StreamsComeInPiecesAndEndInTrailers) {
  std::string body;
  const auto response =
      client_->stream({.target = "/stream"}, [&](const ClientResponse&, std::string_view piece) {
        body += piece;
        return true;
      });
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(body,
            std::string(100'000, '2') + std::string(100'000, '1') + std::string(100'000, '0'));
  EXPECT_EQ(response->fields.find("x-sum"), "7");
  EXPECT_EQ(response->body, "");
  EXPECT_TRUE(client_->send({.target = "/again"}));
}

TEST_F(RoundTrip, AReceiverMayHangUp) {
  const auto response = client_->stream({.target = "/stream"}, [](auto&, auto) { return false; });
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::cancelled);
  EXPECT_TRUE(client_->send({.target = "/again"}));
}

TEST_F(RoundTrip, HeadHasALengthAndNoBody) {
  const auto response = client_->send({.method = "HEAD", .target = "/"});
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->fields.find("content-length"), "0");
  EXPECT_EQ(response->body, "");
}

TEST_F(RoundTrip, TheAnswerOfARefusedUploadIsRead) {
  const std::string body(8'000'000, 'x');
  const auto response = client_->send({.method = "POST", .target = "/small", .body = body});
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 413);
  EXPECT_TRUE(client_->send({.target = "/again"}));
}

TEST_F(RoundTrip, WaitsNoLongerThanItWasTold) {
  const auto response = client_->send({.target = "/wait", .timeout = 20ms});
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::deadline_exceeded);
  EXPECT_TRUE(client_->send({.target = "/again"}));
}

TEST_F(RoundTrip, ConnectsAgainAfterAnIdleConnectionWasClosed) {
  ASSERT_TRUE(client_->send({.target = "/"}));
  while (counters().connections_open > 0) std::this_thread::sleep_for(1ms);
  const auto response = client_->send({.method = "POST", .target = "/", .body = "x"});
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, "x");
  EXPECT_EQ(counters().connections_total, 2);
}

TEST_F(RoundTrip, SendsNothingThatIsNotOneRequest) {
  Fields split;
  split.add("X-A", "b\r\nX-B: c");
  Fields twin;
  twin.add("X A", "b");
  const ClientRequest bad[] = {{.method = "GE T"},
                               {.target = "/a b"},
                               {.target = "/\r\nX: y"},
                               {.fields = split},
                               {.fields = twin}};
  for (const ClientRequest& request : bad) {
    const auto response = client_->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::invalid_argument);
  }
  EXPECT_EQ(counters().connections_total, 0);
}

TEST(Client, TakesOnlyPlainUrls) {
  for (const char* url : {"http://127.0.0.1:8080", "http://[::1]:80", "http://localhost:1/"}) {
    EXPECT_TRUE(connect(url)) << url;
  }
  for (const char* url : {"", "https://a:1", "http://a", "http://a:", "http://a:x", "http://:80",
                          "http://a:0", "http://a:70000", "http://a:1/b", "http://u@a:1", "a:1"}) {
    EXPECT_FALSE(connect(url)) << url;
  }
}

TEST(Client, SaysThatNobodyIsThere) {
  const auto client = connect("http://127.0.0.1:1");
  const auto response = (*client)->send({});
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::unavailable);
  EXPECT_EQ(response.error().message, "connecting to 127.0.0.1:1: connect: Connection refused");
}

}  // namespace
}  // namespace dormouse::http
