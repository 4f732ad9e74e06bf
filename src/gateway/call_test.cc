// Calls by KServe v2, AWS's Invoke and the native dialect, from the request to the response, over a
// fleet that gives back what it is given.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>

#include "gateway/gateway.h"

namespace dormouse::gateway {
namespace {

catalog::RevisionPtr revision(std::int32_t number, std::int64_t width) {
  auto made = std::make_shared<catalog::Revision>(
      catalog::Revision{{}, "default", number, catalog::digest_of({}), {}});
  made->manifest.name = "m";
  made->manifest.runtime = "onnx";
  const wire::TensorSpec x{"x", wire::DataType::fp32, {-1, width}};
  made->ready.signature = {.inputs = {x, {"f", wire::DataType::fp32, {1}}}, .outputs = {x}};
  return made;
}

// Of one function.
class FakeCatalog final : public catalog::Catalog {
 public:
  catalog::RevisionPtr active(std::string_view) const override { return serving; }
  const catalog::Function* find(std::string_view) const override { return &function; }
  const std::map<std::string, catalog::Function, std::less<>>& all() const override {
    return functions_;
  }
  std::set<Digest> live_blobs() const override { return {}; }
  asio::awaitable<Result<catalog::RevisionPtr>> publish(catalog::Draft, WallTime) override {
    co_return serving;
  }
  asio::awaitable<Result<catalog::RevisionPtr>> activate(std::string, std::int32_t) override {
    co_return serving;
  }
  asio::awaitable<Result<>> remove(std::string) override { co_return ok; }
  asio::awaitable<Result<>> remove_revision(std::string, std::int32_t) override { co_return ok; }

  catalog::RevisionPtr serving;
  catalog::Function function;

 private:
  std::map<std::string, catalog::Function, std::less<>> functions_;
};

class EchoFleet final : public fleet::Fleet {
 public:
  explicit EchoFleet(const FakeCatalog* catalog) : catalog_(catalog) {}
  asio::awaitable<fleet::Outcome> invoke(fleet::Invocation invocation) override {
    invoked = true;
    given_memfd = invocation.body.memfd();
    given_revision = invocation.revision;
    given_exactly = invocation.wishes.exactly;
    given_context = invocation.wishes.client_context;
    fleet::Answer answer{.content = std::move(invocation.content),
                         .body = std::move(invocation.body),
                         .stream = {},
                         .lease = {}};
    co_return fleet::Outcome{.answer = std::move(answer), .receipt = {}};
  }
  catalog::RevisionPtr serves(const std::string&) const override { return catalog_->serving; }

  asio::awaitable<Result<catalog::Draft>> try_out(catalog::Draft draft, fleet::Witness) override {
    co_return draft;
  }
  void serve(const std::string&, catalog::RevisionPtr) override {}
  void retire(const std::string&, std::int32_t) override {}
  fleet::Status status(const std::string&) const override { return {}; }
  asio::awaitable<fleet::Details> details(std::string) const override {
    co_return fleet::Details();
  }
  fleet::Snapshot snapshot() override { return {}; }
  const std::map<std::string, fleet::Runtime>& runtimes() const override { return runtimes_; }
  void end_calls() override {}
  asio::awaitable<void> drain(Duration) override { co_return; }

  bool invoked = false;
  int given_memfd = -1;
  catalog::RevisionPtr given_revision;
  bool given_exactly = false;
  std::string given_context;

 private:
  const FakeCatalog* catalog_;
  std::map<std::string, fleet::Runtime> runtimes_{{"onnx", {}},
                                                  {"python", {.client_context = true}}};
};

class NoLogs final : public logs::Logs {
 public:
  void append(std::string_view, logs::Line) override {}
  asio::awaitable<Result<logs::Part>> read(std::string, logs::Wanted) override {
    co_return logs::Part{};
  }
  std::uint64_t last(std::string_view) const override { return 0; }
  asio::awaitable<void> wait(std::string, std::uint64_t, TimePoint) override { co_return; }
  void remove(std::string_view) override {}
};

struct World {
  World() {
    catalog.serving = revision(1, 2);
    catalog.function.revisions = {{1, catalog.serving}};
  }

  // Answers; `meanwhile` happens as soon as that waits for another thread.
  http::Response call(http::Request request, const std::function<void()>& meanwhile = [] {}) {
    io.restart();
    std::optional<http::Response> response;
    auto work = gateway.handle(std::move(request));
    asio::co_spawn(io, std::move(work),
                   [&](std::exception_ptr, http::Response made) { response = std::move(made); });
    io.poll_one();
    meanwhile();
    io.run();
    return *std::move(response);
  }

  asio::io_context io;
  std::unique_ptr<async::Clock> clock = async::system_clock();
  FakeCatalog catalog;
  EchoFleet fleet{&catalog};
  NoLogs logs;
  Keys keys;
  Gateway gateway{{.clock = clock.get(),
                   .catalog = &catalog,
                   .fleet = &fleet,
                   .api = nullptr,
                   .lambda_api = nullptr,
                   .logs = &logs,
                   .keys = &keys,
                   .hosts = {},
                   .http_counters = {},
                   .version = "1"}};
};

http::Request request(std::string path, http::Body body) {
  http::Request made;
  made.head = std::make_shared<const http::Head>(
      http::Head{.method = "POST", .path = path, .target = path});
  made.body = std::move(body);
  return made;
}

void add_field(http::Request* to, std::string_view name, std::string_view value) {
  auto head = std::make_shared<http::Head>(*to->head);
  head->fields.add(name, value);
  to->head = std::move(head);
}

constexpr std::size_t rows = 100'000;
constexpr std::size_t bytes_of_x = rows * 8;

// Of `x` in binary, behind its header; `f` in JSON, or in binary as well.
http::Request infer(bool f_is_json) {
  const std::string f = f_is_json ? R"("data":[7])" : R"("parameters":{"binary_data_size":4})";
  const std::string header =
      R"({"inputs":[{"name":"x","datatype":"FP32","shape":[100000,2],"parameters":)"
      R"({"binary_data_size":800000}},{"name":"f","datatype":"FP32","shape":[1],)" +
      f + R"(}],"parameters":{"binary_data_output":true}})";
  auto body = http::Body::in_memfd(header + std::string(bytes_of_x, 'x') +
                                   (f_is_json ? std::string() : std::string(4, 'f')));
  CHECK(body);
  auto made = request("/v2/models/m/infer", *std::move(body));
  add_field(&made, "Inference-Header-Content-Length", std::to_string(header.size()));
  return made;
}

// Some 300 KB.
std::string json_rows() {
  std::string all;
  for (int i = 0; i < 30'000; ++i) all += std::string(i == 0 ? "" : ",") + "[0.5,0.25]";
  return "[" + all + "]";
}

http::Request infer_json(std::string path) {
  return request(
      std::move(path),
      http::Body(R"({"inputs":[{"name":"x","datatype":"FP32","shape":[30000,2],"data":)" +
                 json_rows() + R"(},{"name":"f","datatype":"FP32","shape":[1],"data":[7]}]})"));
}

std::string text_of(const http::Response& response) {
  return std::get<http::Body>(response.body).text();
}

// The file that the client's bytes were received into is the worker's, and the worker's is sent.
TEST(KServeCall, CopiesNoBinaryTensor) {
  World world;
  auto asked = infer(false);
  const int received = asked.body.memfd();
  const auto response = world.call(std::move(asked), [&] { EXPECT_TRUE(world.fleet.invoked); });
  EXPECT_EQ(world.fleet.given_memfd, received);
  EXPECT_EQ(response.status, 200);
  const auto& sent = std::get<http::Spliced>(response.body);
  EXPECT_EQ(sent.of.memfd(), received);
  EXPECT_EQ(sent.parts, (std::vector<http::Spliced::Part>{{0, bytes_of_x + 4}}));
  EXPECT_EQ(response.fields.find("Inference-Header-Content-Length"),
            std::to_string(sent.head.size()));
}

TEST(KServeCall, BringsTensorsTogetherOffTheLoop) {
  World world;
  const auto response = world.call(infer(true), [&] { EXPECT_FALSE(world.fleet.invoked); });
  const auto& sent = std::get<http::Spliced>(response.body);
  EXPECT_EQ(sent.size(), sent.head.size() + bytes_of_x + 4);
  const std::string_view bytes = *sent.of.view();
  EXPECT_EQ(bytes.substr(sent.parts[0].offset, bytes_of_x), std::string(bytes_of_x, 'x'));
}

TEST(KServeCall, IsReadAnewForWhatServesOnceItIsRead) {
  World world;
  const auto second = revision(2, 2);
  const auto response =
      world.call(infer_json("/v2/models/m/infer"), [&] { world.catalog.serving = second; });
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(world.fleet.given_revision, second);
  EXPECT_TRUE(text_of(response).starts_with(R"({"model_name":"m","model_version":"2",)"));

  const auto other =
      world.call(infer_json("/v2/models/m/infer"), [&] { world.catalog.serving = revision(3, 7); });
  EXPECT_EQ(other.status, 400);
  EXPECT_TRUE(text_of(other).contains("wants the shape [-1, 7]")) << text_of(other);
}

TEST(KServeCall, IsAnsweredByTheVersionThatItNames) {
  World world;
  const catalog::RevisionPtr first = world.catalog.serving;
  const auto response = world.call(infer_json("/v2/models/m/versions/1/infer"),
                                   [&] { world.catalog.serving = revision(2, 2); });
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(world.fleet.given_revision, first);
  EXPECT_TRUE(world.fleet.given_exactly);
  EXPECT_TRUE(text_of(response).starts_with(R"({"model_name":"m","model_version":"1",)"));
}

TEST(KServeCall, IsNotFoundIfTheVersionThatItNamesIsGoneOnceItIsRead) {
  World world;
  const auto response = world.call(infer_json("/v2/models/m/versions/1/infer"), [&] {
    world.catalog.serving = revision(2, 2);
    world.catalog.function.revisions.clear();
  });
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(text_of(response), R"({"error":"there is no version 1 of m; 2 serves"})");
  EXPECT_FALSE(world.fleet.invoked);
}

TEST(NativeCall, IsReadAnewForWhatServesOnceItIsRead) {
  World world;
  const auto asked = [] {
    auto made = request("/f/m", http::Body(R"({"f":[7],"x":)" + json_rows() + "}"));
    add_field(&made, "Content-Type", "application/json");
    return made;
  };
  const auto second = revision(2, 2);
  EXPECT_EQ(world.call(asked(), [&] { world.catalog.serving = second; }).status, 200);
  EXPECT_EQ(world.fleet.given_revision, second);

  auto no_tensors = std::make_shared<catalog::Revision>(*second);
  no_tensors->ready.signature = {};
  const auto echoed = world.call(asked(), [&] { world.catalog.serving = no_tensors; });
  EXPECT_EQ(text_of(echoed), asked().body.text());
  EXPECT_EQ(echoed.fields.find("Content-Type"), "application/json");
}

http::Request lambda_json(const std::string& name) {
  return request("/2015-03-31/functions/" + name + "/invocations",
                 http::Body(R"({"f":[7],"x":)" + json_rows() + "}"));
}

TEST(LambdaCall, IsAnsweredByTheVersionThatItNames) {
  World world;
  const catalog::RevisionPtr first = world.catalog.serving;
  const auto response =
      world.call(lambda_json("m:1"), [&] { world.catalog.serving = revision(2, 2); });
  EXPECT_EQ(response.status, 200) << text_of(response);
  EXPECT_EQ(response.fields.find("X-Amz-Executed-Version"), "1");
  EXPECT_EQ(world.fleet.given_revision, first);
  EXPECT_TRUE(world.fleet.given_exactly);
}

TEST(LambdaCall, IsNotFoundIfTheVersionThatItNamesIsGoneOnceItIsRead) {
  World world;
  const auto response = world.call(lambda_json("m:1"), [&] {
    world.catalog.serving = revision(2, 2);
    world.catalog.function.revisions.clear();
  });
  EXPECT_EQ(response.status, 404) << text_of(response);
  EXPECT_FALSE(world.fleet.invoked);
}

TEST(LambdaCall, IsReadAnewForWhatServesOnceItIsRead) {
  World world;
  const auto second = revision(2, 2);
  const auto answered = world.call(lambda_json("m"), [&] { world.catalog.serving = second; });
  EXPECT_EQ(answered.status, 200) << text_of(answered);
  EXPECT_EQ(answered.fields.find("X-Amz-Executed-Version"), "2");
  EXPECT_EQ(world.fleet.given_revision, second);
}

http::Request lambda_from(std::string client_context, std::string body = "{}") {
  auto made = request("/2015-03-31/functions/m/invocations", http::Body(std::move(body)));
  add_field(&made, "X-Amz-Client-Context", client_context);
  return made;
}

TEST(LambdaCall, HandsOnWhatItsClientSaysOfItself) {
  World world;
  auto python = std::make_shared<catalog::Revision>(*revision(1, 2));
  python->manifest.runtime = "python";
  python->ready.signature = {};
  world.catalog.serving = python;
  EXPECT_EQ(world.call(lambda_from("eyJjdXN0b20iOnt9fQ==")).status, 200);
  EXPECT_EQ(world.fleet.given_context, R"({"custom":{}})");
  EXPECT_EQ(world.call(request("/f/m", http::Body("{}"))).status, 200);
  EXPECT_EQ(world.fleet.given_context, "");
}

TEST(LambdaCall, IsRefusedWithAClientContextThatIsNoneOrThatNobodyIsToldOf) {
  World world;
  const auto no_context = world.call(lambda_from("eyJjdXN0b20iOnt9fQ"));
  EXPECT_EQ(no_context.status, 400);
  EXPECT_EQ(no_context.fields.find("x-amzn-ErrorType"), "InvalidRequestContentException");
  const auto to_a_model = world.call(lambda_from("e30="));
  EXPECT_EQ(to_a_model.status, 400);
  EXPECT_EQ(to_a_model.fields.find("x-amzn-ErrorType"), "InvalidParameterValueException");
  EXPECT_TRUE(text_of(to_a_model).contains("ClientContext: functions of runtime onnx"));
  EXPECT_FALSE(world.fleet.invoked);
}

}  // namespace
}  // namespace dormouse::gateway
