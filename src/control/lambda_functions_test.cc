// lambda_requests.h and lambda_configuration.h: what is said of a function is shown again.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "control/lambda_configuration.h"
#include "control/lambda_requests.h"

namespace dormouse::control {
namespace {

using namespace std::chrono_literals;

std::string create_text(const std::string& more = "") {
  return R"({"FunctionName":"greet","Runtime":"python3.12","Role":"arn:aws:iam::1:role/r",)"
         R"("Handler":"app.handler","Code":{"ZipFile":"UEs="})" +
         more + "}";
}

Result<LambdaChange> create(const std::string& more = "", const catalog::Network& otherwise = {}) {
  return read_create_function(json::parse(create_text(more)), otherwise);
}

catalog::Revision revision_of(catalog::Manifest manifest) {
  catalog::Revision revision{{.manifest = std::move(manifest),
                              .files = {},
                              .prepared = {},
                              .load_options = {},
                              .notes = {},
                              .ready = {}},
                             "default",
                             3,
                             *Digest::parse("sha256:" + std::string(64, 'a')),
                             {1795718734123}};
  return revision;
}

json::object shown(const catalog::Manifest& manifest) {
  return lambda_configuration(revision_of(manifest), {.version = "$LATEST", .region = "eu-west-1"});
}

TEST(LambdaCreate, BecomesAManifestWithAwssDefaults) {
  const auto change = create();
  ASSERT_TRUE(change) << change.error().message;
  EXPECT_EQ(change->name, "greet");
  EXPECT_EQ(change->zip, "UEs=");
  EXPECT_EQ(change->manifest.runtime, "python");
  EXPECT_EQ(change->manifest.handler, "app.handler");
  EXPECT_EQ(change->manifest.timeout, 3s);
  EXPECT_EQ(change->manifest.resources.memory_bytes, 128 << 20);
}

TEST(LambdaCreate, TakesWhatHasAMeaningHereAndLeavesOutWhatSaysNothing) {
  const auto change = create(
      R"(,"Timeout":900,"MemorySize":512,"Publish":true,"PackageType":"Zip","Description":"hello",)"
      R"("Environment":{"Variables":{"A":"b","DB":"dormouse:secret:prod-db"}},"Tags":{"team":"x"},)"
      R"("LoggingConfig":{"LogFormat":"Text","LogGroup":"/dormouse/greet"},)"
      R"("EphemeralStorage":{"Size":64},)"
      R"("Layers":[],"VpcConfig":{"SubnetIds":[],"SecurityGroupIds":[]},"KMSKeyArn":"",)"
      R"("DeadLetterConfig":{},"TracingConfig":{"Mode":"PassThrough"},)"
      R"("SnapStart":{"ApplyOn":"None"})");
  const auto saved = create(R"(,"SnapStart":{"ApplyOn":"PublishedVersions"})");
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_EQ(saved->manifest.snapshot, catalog::snapshot_on);
  ASSERT_TRUE(change) << change.error().message;
  const catalog::Manifest& manifest = change->manifest;
  EXPECT_TRUE(change->publish);
  EXPECT_EQ(manifest.timeout, 900s);
  EXPECT_EQ(manifest.env, (std::map<std::string, std::string>{{"A", "b"}}));
  ASSERT_TRUE(manifest.secrets.contains("DB"));
  EXPECT_EQ(manifest.secrets.at("DB"), (catalog::SecretUse{"prod-db", catalog::When::init}));
  const json::object view = shown(manifest);
  EXPECT_EQ(view.at("Description"), "hello");
  EXPECT_EQ(view.at("Environment").at("Variables").at("DB"), "dormouse:secret:prod-db");
  EXPECT_EQ(lambda_tags(manifest).at("team"), "x");
}

TEST(LambdaCreate, RefusesByNameWhatIsNotToBeHad) {
  const struct {
    const char* more;
    const char* named;
  } rows[] = {
      {R"(,"Layers":["arn:aws:lambda:eu-west-1:1:layer:x:1"])", "Layers"},
      {R"(,"VpcConfig":{"SubnetIds":["subnet-1"]})", "VpcConfig"},
      {R"(,"EphemeralStorage":{"Size":512})", "EphemeralStorage: /tmp has 64 MiB here"},
      {R"(,"LoggingConfig":{"LogFormat":"JSON"})", "LoggingConfig: LogFormat"},
      {R"(,"LoggingConfig":{"SystemLogLevel":"WARN"})", "LoggingConfig: SystemLogLevel"},
      {R"(,"LoggingConfig":{"LogGroup":"/aws/lambda/greet"})", "LoggingConfig: LogGroup"},
      {R"(,"LoggingConfig":"Text")", "LoggingConfig"},
      {R"(,"TracingConfig":{"Mode":"Active"})", "TracingConfig"},
      {R"(,"SnapStart":{"ApplyOn":"Everything"})", "SnapStart"},
      {R"(,"PackageType":"Image")", "PackageType"},
      {R"(,"Architectures":["sparc"])", "Architectures"},
      {R"(,"Timeout":0)", "Timeout"},
      {R"(,"Timeout":901)", "Timeout"},
      {R"(,"Timeout":"3")", "Timeout"},
      {R"(,"MemorySize":127)", "MemorySize"},
      {R"(,"MemorySize":10241)", "MemorySize"},
      {R"(,"Environment":{"Variables":{"A":1}})", "Environment"},
      {R"(,"Environment":{"variables":{"A":"1"}})", "Environment"},
      {R"(,"Environment":{"Variables":{"A-B":"1"}})", "env"},
      {R"(,"Environment":{"Variables":{"A":"dormouse:secret:no name"}})", "secrets"},
      {R"(,"Publish":"yes")", "Publish"},
      {R"(,"Tags":{"a":1})", "Tags"},
      {R"(,"NoSuchThing":1)", "NoSuchThing"},
  };
  for (const auto& row : rows) {
    const auto refused = create(row.more);
    ASSERT_FALSE(refused) << row.more;
    EXPECT_TRUE(refused.error().message.starts_with(row.named)) << refused.error().message;
  }
}

TEST(LambdaCreate, RefusesAnotherValueOfWhatItMustHave) {
  const struct {
    const char* field;
    const char* value;
    const char* says;
  } rows[] = {
      {"FunctionName", R"("gr.eet")", "name: "},
      {"FunctionName", R"("greet:3")", "FunctionName: "},
      {"FunctionName", "7", "FunctionName: "},
      {"FunctionName", "null", "FunctionName is missing"},
      {"Runtime", R"("java21")", "Runtime: "},
      {"Runtime", R"("nodejs")", "Runtime: "},
      {"Runtime", R"("nodejs.x")", "Runtime: "},
      {"Runtime", R"("nodejsbla")", "Runtime: "},
      {"Runtime", R"("nodejs4.3")", "Runtime: "},
      {"Runtime", R"("nodejs18.x")", "Runtime: "},
      {"Runtime", R"("nodejs22")", "Runtime: "},
      {"Runtime", R"("nodejs22.xx")", "Runtime: "},
      {"Runtime", R"("nodejs+22.x")", "Runtime: "},
      {"Runtime", R"("python3.")", "Runtime: "},
      {"Runtime", R"("python3.x")", "Runtime: "},
      {"Runtime", R"("python3.12b")", "Runtime: "},
      {"Runtime", R"("python2.7")", "Runtime: "},
      {"Runtime", R"("provided")", "Runtime: "},
      {"Runtime", "null", "Runtime is missing"},
      {"Handler", R"("handler")", "handler: "},
      {"Code", R"({"S3Bucket":"b","S3Key":"k"})", "Code: S3Bucket"},
      {"Code", R"({"ImageUri":"x"})", "Code: ImageUri"},
      {"Code", R"({"ZipFile":7})", "Code: "},
      {"Code", "null", "Code is missing"},
  };
  for (const auto& row : rows) {
    json::value body = json::parse(create_text());
    body.as_object()[row.field] = json::parse(row.value);
    const auto refused = read_create_function(body, {});
    ASSERT_FALSE(refused) << row.field << row.value;
    EXPECT_TRUE(refused.error().message.starts_with(row.says)) << refused.error().message;
  }
}

TEST(LambdaCreate, LeavesAnExecutablesHandlerToIt) {
  json::value body = json::parse(create_text());
  body.as_object()["Runtime"] = "provided.al2023";
  body.as_object()["Handler"] = "bootstrap";
  const auto change = read_create_function(body, {});
  ASSERT_TRUE(change) << change.error().message;
  EXPECT_EQ(change->manifest.runtime, "executable");
  EXPECT_EQ(change->manifest.handler, "bootstrap");
  EXPECT_EQ(shown(change->manifest).at("Handler"), "bootstrap");
}

using Reach = catalog::Network::Reach;

TEST(LambdaNetwork, IsTheTagsOrElseTheNodes) {
  const catalog::Network outbound{.reach = Reach::outbound};
  const struct {
    const char* tags;
    catalog::Network otherwise, read;
  } rows[] = {
      {"", {}, {}},
      {"", outbound, outbound},
      {R"(,"Tags":{"team":"x"})", outbound, outbound},
      {R"(,"Tags":{"dormouse:network":"none"})", outbound, {}},
      {R"(,"Tags":{"dormouse:network":"outbound"})", {}, outbound},
      {R"(,"Tags":{"dormouse:network":"API.example.com:443"})",
       {},
       {Reach::allowed, {"api.example.com:443"}}},
      {R"(,"Tags":{"dormouse:network":" 10.0.0.7:5432  a.b:1 10.0.0.7:5432 "})",
       {},
       {Reach::allowed, {"10.0.0.7:5432", "a.b:1"}}},
  };
  for (const auto& row : rows) {
    const auto change = create(row.tags, row.otherwise);
    ASSERT_TRUE(change) << change.error().message;
    EXPECT_EQ(change->manifest.network, row.read) << row.tags;
  }
}

TEST(LambdaNetwork, IsRefusedByTheTagsNameWithWhatIsAllowed) {
  const char* const rows[] = {
      R"("")",        R"(" ")",          R"("Outbound")",     R"("none outbound")",
      R"("a:1,b:2")", R"("https://a/")", R"("127.0.0.1:80")", "7"};
  for (const std::string value : rows) {
    const auto refused = create(R"(,"Tags":{"dormouse:network":)" + value + "}");
    ASSERT_FALSE(refused) << value;
    const std::string& message = refused.error().message;
    EXPECT_TRUE(message.starts_with("Tags: dormouse:network: ")) << message;
    EXPECT_TRUE(
        message.ends_with("; allowed are none, outbound, and HOST:PORT, several with a "
                          "space between them"))
        << message;
  }
  std::string many;
  for (int port = 1; port <= 65; ++port) many += "a:" + std::to_string(port) + " ";
  EXPECT_FALSE(create(R"(,"Tags":{"dormouse:network":")" + many + "\"}"));
}

TEST(LambdaTags, ChangeThemselvesAndTheNetworkAndNothingElse) {
  const catalog::Network outbound{.reach = Reach::outbound};
  const auto before = create(R"(,"MemorySize":512,"Tags":{"team":"x","cost":""})")->manifest;
  EXPECT_EQ(lambda_tags(before), (json::object{{"team", "x"}, {"cost", ""}}));
  const auto tagged = read_tag_resource(
      json::parse(R"({"Tags":{"team":"y","dormouse:network":"outbound"}})"), before);
  ASSERT_TRUE(tagged) << tagged.error().message;
  catalog::Manifest expected = before;
  expected.network = outbound;
  expected.labels["aws.tag.team"] = "y";
  expected.labels["aws.tag.dormouse:network"] = "outbound";
  EXPECT_EQ(tagged->manifest, expected);

  const std::string unknown[] = {"nothing", "aws.role"};
  EXPECT_EQ(read_untag_resource(unknown, tagged->manifest, {})->manifest, expected);
  const std::string both[] = {"team", "dormouse:network"};
  const auto untagged = read_untag_resource(both, tagged->manifest, {});
  EXPECT_EQ(lambda_tags(untagged->manifest), (json::object{{"cost", ""}}));
  EXPECT_EQ(untagged->manifest.network, catalog::Network{});
  EXPECT_EQ(read_untag_resource(both, tagged->manifest, outbound)->manifest.network, outbound);

  // One that a dormouse.yaml has said stays.
  auto other = before;
  other.network = {Reach::allowed, {"a:1"}};
  EXPECT_EQ(read_untag_resource(both, other, {})->manifest.network, other.network);
  for (const char* body :
       {"{}", "[]", R"({"Tags":null})", R"({"Tags":[]})", R"({"tags":{"a":"b"}})"}) {
    EXPECT_FALSE(read_tag_resource(json::parse(body), before)) << body;
  }
  EXPECT_FALSE(read_untag_resource({}, before, {}));
}

TEST(LambdaUpdate, ChangesWhatIsSaidAndNothingElse) {
  auto before = create(R"(,"MemorySize":512,"Environment":{"Variables":{"A":"b"}})")->manifest;
  before.concurrency = 4;
  before.network.reach = catalog::Network::Reach::outbound;
  before.keep_alive = 5s;
  note_zip(before, {"c2hh", 7});
  const auto change =
      read_update_configuration(json::parse(R"({"Timeout":9,"Handler":"main.go"})"), before);
  ASSERT_TRUE(change) << change.error().message;
  catalog::Manifest expected = before;
  expected.timeout = 9s;
  expected.handler = "main.go";
  EXPECT_EQ(change->manifest, expected);
}

TEST(LambdaUpdate, TakesAHandlerThatWasALabelIntoItsField) {
  auto before = create("")->manifest;
  before.runtime = "executable";
  before.handler = "";
  before.labels["aws.handler"] = "bootstrap";
  EXPECT_EQ(shown(before).at("Handler"), "bootstrap");
  const auto change = read_update_configuration(json::parse(R"({"Timeout":9})"), before);
  ASSERT_TRUE(change) << change.error().message;
  EXPECT_EQ(change->manifest.handler, "bootstrap");
  EXPECT_FALSE(change->manifest.labels.contains("aws.handler"));
}

TEST(LambdaCreate, KeepsAVariableThatIsEmpty) {
  const auto change = create(R"(,"Environment":{"Variables":{"FLAG":""}})");
  ASSERT_TRUE(change) << change.error().message;
  EXPECT_EQ(change->manifest.env, (std::map<std::string, std::string>{{"FLAG", ""}}));
}

TEST(LambdaConfiguration, TakesNoLabelForANumberThatIsNone) {
  for (const char* text : {"x", "999999999999999999999999999999", "-5", "7 ", ""}) {
    catalog::Manifest manifest = create("")->manifest;
    const json::value plain = shown(manifest).at("CodeSize");
    manifest.labels["aws.code-bytes"] = text;
    EXPECT_EQ(shown(manifest).at("CodeSize"), plain) << text;
  }
}

TEST(LambdaUpdate, ReplacesTheEnvironmentAsAWhole) {
  auto before = create(R"(,"Environment":{"Variables":{"A":"b"}},"Description":"old")")->manifest;
  before.secrets = {{"KEEP", {"KEEP", catalog::When::late}}, {"DROP", {"x", catalog::When::late}}};
  const auto change = read_update_configuration(
      json::parse(R"({"Environment":{"Variables":{"C":"d","KEEP":"dormouse:secret:KEEP",)"
                  R"("NEW":"dormouse:secret:n"}},"Description":""})"),
      before);
  ASSERT_TRUE(change) << change.error().message;
  EXPECT_EQ(change->manifest.env, (std::map<std::string, std::string>{{"C", "d"}}));
  const std::map<std::string, catalog::SecretUse> secrets{{"KEEP", {"KEEP", catalog::When::late}},
                                                          {"NEW", {"n", catalog::When::init}}};
  EXPECT_EQ(change->manifest.secrets, secrets);
  EXPECT_EQ(shown(change->manifest).at("Description"), "");
  const auto cleared = read_update_configuration(json::parse(R"({"Environment":{}})"), before);
  EXPECT_TRUE(cleared->manifest.env.empty() && cleared->manifest.secrets.empty());
}

TEST(LambdaUpdate, OfCodeTakesCodeOnly) {
  const auto before = create()->manifest;
  const auto change = read_update_code(
      json::parse(R"({"ZipFile":"UEs=","Publish":true,"DryRun":true,"RevisionId":"r"})"), before);
  ASSERT_TRUE(change);
  EXPECT_TRUE(change->publish && change->dry_run);
  EXPECT_EQ(change->revision_id, "r");
  for (const char* body : {R"({})", R"({"S3Bucket":"b"})", R"({"ZipFile":"UEs=","Timeout":3})"}) {
    EXPECT_FALSE(read_update_code(json::parse(body), before)) << body;
  }
}

TEST(LambdaConfiguration, SaysWhatTheToolsWaitFor) {
  auto manifest = create()->manifest;
  note_zip(manifest, {"c2hh", 7});
  json::object view = shown(manifest);
  EXPECT_EQ(view.at("FunctionArn"), "arn:aws:lambda:eu-west-1:000000000000:function:greet");
  EXPECT_EQ(view.at("Runtime"), "python3.12");
  EXPECT_EQ(view.at("Role"), "arn:aws:iam::1:role/r");
  EXPECT_EQ(view.at("CodeSize"), 7);
  EXPECT_EQ(view.at("CodeSha256"), "c2hh");
  EXPECT_EQ(view.at("LastModified"), "2026-11-26T18:45:34.123+0000");
  EXPECT_EQ(view.at("State"), "Active");
  EXPECT_EQ(view.at("LastUpdateStatus"), "Successful");
  EXPECT_EQ(view.at("RevisionId"), "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa");
  EXPECT_EQ(view.at("EphemeralStorage"), json::parse(R"({"Size":64})"));
  EXPECT_EQ(view.at("LoggingConfig"),
            json::parse(R"({"LogFormat":"Text","LogGroup":"/dormouse/greet"})"));
  EXPECT_EQ(view.at("SnapStart"), json::parse(R"({"ApplyOn":"None","OptimizationStatus":"Off"})"));
  manifest.snapshot = catalog::snapshot_on;
  catalog::Revision saved = revision_of(manifest);
  view = lambda_configuration(saved, {.version = "3", .region = "x"});
  EXPECT_EQ(view.at("SnapStart"),
            json::parse(R"({"ApplyOn":"PublishedVersions","OptimizationStatus":"Off"})"));
  saved.load_options["snapshot"] = "yes";
  view = lambda_configuration(saved, {.version = "3", .region = "x"});
  EXPECT_EQ(view.at("SnapStart").at("OptimizationStatus"), "On");
  view = lambda_configuration(revision_of(manifest),
                              {.version = "3", .region = "x", .changing = true});
  EXPECT_EQ(view.at("FunctionArn"), "arn:aws:lambda:x:000000000000:function:greet:3");
  EXPECT_EQ(view.at("LastUpdateStatus"), "InProgress");
}

// Of a function that was deployed otherwise.
TEST(LambdaConfiguration, IsThereForEveryFunction) {
  catalog::Manifest manifest;
  manifest.name = "reader";
  manifest.runtime = "onnx";
  const json::object view = shown(manifest);
  EXPECT_EQ(view.at("Runtime"), "onnx");
  EXPECT_EQ(view.at("Timeout"), 30);
  EXPECT_EQ(view.at("MemorySize"), 512);
  EXPECT_EQ(view.at("CodeSha256"), "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=");
}

}  // namespace
}  // namespace dormouse::control
