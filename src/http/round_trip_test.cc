#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <thread>

#include "http/client.h"
#include "http/server.h"

namespace dormouse::http {
namespace {

class Echo final : public Handler {
 public:
  std::variant<std::uint64_t, Response> admit(const Head&, bool) override {
    return std::uint64_t{16} << 20;
  }
  asio::awaitable<Response> handle(Request request) override {
    Response response;
    response.fields.add("X-Path", request.head.path);
    response.body = std::move(request.body);
    co_return response;
  }
};

TEST(Http, ABodyGoesThereAndBack) {
  asio::io_context io;
  const auto clock = async::system_clock();
  Echo echo;
  auto server = listen(io.get_executor(), clock.get(), &echo, {.port = 0});
  ASSERT_TRUE(server) << server.error().message;
  std::thread loop([&] { io.run(); });

  auto client = connect("http://127.0.0.1:" + std::to_string((*server)->port()));
  ASSERT_TRUE(client);
  for (const std::size_t size : {0u, 5u, 5'000u, 100'000u, 5'000'000u}) {
    const std::string body(size, 'x');
    const ClientRequest request{.method = "POST", .target = "/f/e%C3%A9?a=1", .body = body};
    const auto response = (*client)->send(request);
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->fields.find("x-path"), "/f/e\xC3\xA9");
    EXPECT_EQ(response->body.size(), size);
    EXPECT_TRUE(response->body == body);
  }
  EXPECT_EQ((*server)->counters().connections_total, 1);
  io.stop();
  loop.join();
}

}  // namespace
}  // namespace dormouse::http
