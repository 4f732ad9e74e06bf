#include "control/lambda_control.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "control/fake_world.h"

namespace dormouse::control {
namespace {

// app.py, which says x=1.
constexpr std::string_view zip =
    "UEsDBBQAAAAAAByael0Az/SFBAAAAAQAAAAGAAAAYXBwLnB5eD0xClBLAQIUAxQAAAAAAByael0Az/SFBAAAAAQAAAAG"
    "AAAAAAAAAAAAAACAAQAAAABhcHAucHlQSwUGAAAAAAEAAQA0AAAAKAAAAAAA";

constexpr const char* functions = "/2015-03-31/functions";

std::vector<std::pair<std::string, std::string>> with_any_signature() {
  return {{"Host", "localhost:8080"}, {"Authorization", "AWS4-HMAC-SHA256 any"}};
}

Reply ask(World& world, std::string method, std::string_view target, std::string body = "") {
  return world.ask(request_of(std::move(method), target, std::move(body), with_any_signature()));
}

std::string create_body(std::string_view code = zip) {
  return R"({"FunctionName":"greet","Runtime":"python3.12","Role":"r","Handler":"app.handler",)"
         R"("Code":{"ZipFile":")" +
         std::string(code) + R"("}})";
}

struct PythonWorld : World {
  explicit PythonWorld(gateway::Keys accepted = {}) : World(std::move(accepted)) {
    fleet.known["python"] = {};
  }
};

std::string text_at(const Reply& reply, std::string_view field) {
  return std::string(reply.json().at(field).as_string());
}

TEST(LambdaAccess, IsOfThisMachinesProgramsAndOfNoPage) {
  const struct {
    const char* why;
    std::vector<std::pair<std::string, std::string>> fields;
    bool loopback;
    int status;  // 200: let in.
  } rows[] = {
      {"signed", with_any_signature(), true, 200},
      {"from elsewhere without keys", with_any_signature(), false, 403},
      {"a page's form", {{"Host", "localhost"}, {"Content-Type", "text/plain"}}, true, 403},
      {"rebound", {{"Host", "evil.example"}, {"Authorization", "AWS4"}}, true, 403},
      {"foreign page",
       {{"Host", "localhost"}, {"Authorization", "AWS4"}, {"Origin", "http://evil.example"}},
       true,
       403},
  };
  PythonWorld world;
  for (const auto& row : rows) {
    const auto request = request_of("POST", functions, "", row.fields);
    const auto admitted = world.control->lambda_api()->admit(*request.head, row.loopback);
    const auto* refusal = std::get_if<http::Response>(&admitted);
    EXPECT_EQ(refusal == nullptr ? 200 : refusal->status, row.status) << row.why;
  }
}

TEST(LambdaOperation, IsKnownByMethodAndPath) {
  const struct {
    const char* method;
    const char* path;
    bool known;
  } rows[] = {
      {"POST", "/2015-03-31/functions", true},
      {"GET", "/2015-03-31/functions/", true},
      {"PUT", "/2015-03-31/functions", false},
      {"GET", "/2015-03-31/functions/greet", true},
      {"GET", "/2015-03-31/functions/greet/versions", true},
      {"POST", "/2015-03-31/functions/greet/aliases", false},
      {"PUT", "/2015-03-31/functions/greet/code/x", false},
      {"GET", "/2015-03-31/functionsgreet", false},
      {"GET", "/2017-03-31/tags/arn:aws:lambda:eu-west-1:1:function:greet", true},
      {"POST", "/2017-03-31/tags/greet", true},
      {"DELETE", "/2017-03-31/tags/greet", true},
      {"PUT", "/2017-03-31/tags/greet", false},
      {"GET", "/2017-03-31/tags/", false},
      {"GET", "/2017-03-31/tags", false},
      {"GET", "/2017-03-31/tags/greet/x", false},
      {"GET", "/2016-08-19/account-settings", false},
  };
  PythonWorld world;
  for (const auto& row : rows) {
    const auto request = request_of(row.method, row.path, "", with_any_signature());
    const auto admitted = world.control->lambda_api()->admit(*request.head, true);
    EXPECT_EQ(std::holds_alternative<http::Receiving>(admitted), row.known) << row.path;
  }
}

TEST(LambdaFunctions, AreCreatedShownChangedAndRemoved) {
  PythonWorld world;
  const Reply made = ask(world, "POST", functions, create_body());
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(text_at(made, "State"), "Active");
  const auto revision = world.catalog.active("greet");
  ASSERT_EQ(revision->files.size(), 1u);
  EXPECT_EQ(revision->files[0].path, "app.py");
  EXPECT_EQ(world.blobs.size(revision->files[0].digest), 4u);

  const std::string greet = std::string(functions) + "/greet";
  EXPECT_EQ(ask(world, "PUT", greet + "/configuration", R"({"Timeout":9})").status, 200);
  EXPECT_EQ(world.catalog.active("greet")->manifest.timeout, std::chrono::seconds(9));
  EXPECT_EQ(world.catalog.active("greet")->files, revision->files);
  const Reply shown = ask(world, "GET", greet);
  EXPECT_EQ(shown.json().at("Configuration").at("Timeout"), 9);
  EXPECT_EQ(text_at(ask(world, "POST", greet + "/versions", "{}"), "Version"), "2");
  EXPECT_EQ(ask(world, "GET", greet + "/versions").json().at("Versions").as_array().size(), 3u);
  EXPECT_EQ(ask(world, "DELETE", greet + "?Qualifier=$LATEST").status, 400);
  EXPECT_EQ(ask(world, "DELETE", greet + "?Qualifier=2").status, 409);  // It serves.
  EXPECT_EQ(ask(world, "DELETE", greet + "?Qualifier=3").status, 404);
  EXPECT_EQ(ask(world, "DELETE", greet + "?Qualifier=1").status, 204);
  EXPECT_EQ(ask(world, "GET", greet + "?Qualifier=1").status, 404);
  EXPECT_EQ(ask(world, "DELETE", greet).status, 204);
  EXPECT_EQ(ask(world, "GET", greet).status, 404);
}

TEST(LambdaFunctions, AreRefusedWithATypeAndLeaveNothing) {
  PythonWorld world;
  world.fleet.start_fails = Error{Code::function_failed, "SyntaxError: oops"};
  const struct {
    const char* why;
    std::string body;
    int status;
  } rows[] = {
      {"does not start", create_body(), 400},
      {"no zip", create_body("UEs="), 400},
      {"no base64", create_body("?"), 400},
      {"odd base64", create_body("UEs"), 400},
      {"no JSON", "{", 400},
      {"no object", "[]", 400},
      {"nothing", "", 400},
  };
  for (const auto& row : rows) {
    const Reply refused = ask(world, "POST", functions, row.body);
    EXPECT_EQ(refused.status, row.status) << row.why;
    EXPECT_EQ(refused.fields.find("x-amzn-ErrorType"), "InvalidParameterValueException") << row.why;
  }
  EXPECT_TRUE(world.catalog.all().empty());
}

TEST(LambdaFunctions, HaveTagsThatChangeAndOneThatIsTheirNetwork) {
  PythonWorld world;
  ASSERT_EQ(ask(world, "POST", functions, create_body()).status, 201);
  const std::string tags = "/2017-03-31/tags/arn:aws:lambda:eu-west-1:000000000000:function:greet";
  EXPECT_EQ(ask(world, "GET", tags).json().at("Tags"), json::object());
  const auto set = ask(world, "POST", tags, R"({"Tags":{"team":"x","dormouse:network":"none"}})");
  EXPECT_EQ(set.status, 204) << set.body;
  EXPECT_EQ(set.body, "");
  EXPECT_EQ(world.catalog.active("greet")->number, 2);
  const Reply shown = ask(world, "GET", std::string(functions) + "/greet");
  EXPECT_EQ(shown.json().at("Tags"), ask(world, "GET", tags).json().at("Tags"));
  EXPECT_EQ(ask(world, "DELETE", tags + "?tagKeys=team&tagKeys=dormouse%3Anetwork").status, 204);
  EXPECT_EQ(ask(world, "GET", tags).json().at("Tags"), json::object());
  const auto bad = ask(world, "POST", tags, R"({"Tags":{"dormouse:network":"all"}})");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.fields.find("x-amzn-ErrorType"), "InvalidParameterValueException");
  EXPECT_EQ(ask(world, "GET", tags + ":1").status, 400);
  EXPECT_EQ(ask(world, "DELETE", tags).status, 400);
  EXPECT_EQ(ask(world, "GET", "/2017-03-31/tags/nobody").status, 404);
  EXPECT_EQ(world.catalog.active("greet")->number, 3);
}

TEST(LambdaFunctions, ComeInPages) {
  PythonWorld world;
  for (const char* name : {"a", "b", "c"}) {
    std::string body = create_body();
    body.replace(body.find("greet"), 5, name);
    ASSERT_EQ(ask(world, "POST", functions, body).status, 201);
  }
  const Reply first = ask(world, "GET", std::string(functions) + "/?MaxItems=2");
  EXPECT_EQ(first.json().at("Functions").as_array().size(), 2u);
  EXPECT_EQ(text_at(first, "NextMarker"), "b");
  const Reply rest = ask(world, "GET", std::string(functions) + "/?MaxItems=2&Marker=b");
  EXPECT_EQ(rest.json().at("Functions").as_array().size(), 1u);
  EXPECT_FALSE(rest.json().as_object().contains("NextMarker"));
  EXPECT_EQ(ask(world, "GET", std::string(functions) + "/?MaxItems=x").status, 400);
  for (const std::string field : {"FunctionVersion", "MasterRegion"}) {
    const Reply refused = ask(world, "GET", std::string(functions) + "/?" + field + "=ALL");
    EXPECT_EQ(refused.status, 400);
    EXPECT_TRUE(text_at(refused, "Message").starts_with(field)) << refused.body;
  }
}

}  // namespace
}  // namespace dormouse::control
