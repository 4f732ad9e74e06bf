#include "control/control.h"

#include <gtest/gtest.h>

#include <boost/asio/detached.hpp>
#include <boost/json.hpp>
#include <sstream>

#include "control/fake_world.h"

namespace dormouse::control {
namespace {

using namespace std::chrono_literals;

const std::string digest_a = "sha256:" + std::string(64, 'a');
const std::string digest_b = "sha256:" + std::string(64, 'b');

std::string deploy_body(const std::string& digest, const std::string& fields = "") {
  return R"({"manifest":{"runtime":"onnx","model":"model.onnx")" + fields +
         R"(},"files":[{"path":"model.onnx","digest":")" + digest + R"(","size":5}]})";
}

std::vector<json::value> lines_of(const std::string& text) {
  std::vector<json::value> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) lines.push_back(json::parse(line));
  }
  return lines;
}

void upload(World& world, const std::string& digest, const std::string& bytes) {
  auto fields = World::plain();
  fields.emplace_back("Content-Type", "application/octet-stream");
  const auto reply = world.ask(
      request_of("PUT", "/api/v1/blobs/" + digest + "?offset=0&last=true", bytes, fields));
  ASSERT_EQ(reply.status, 200) << reply.body;
}

// Deploys `digest` as "reader"; gives the last line of the stream.
json::value deploy(World& world, const std::string& digest, const std::string& fields = "") {
  if (!world.blobs.size(*Digest::parse(digest))) upload(world, digest, "bytes");
  const auto reply = world.post("/api/v1/functions/reader/revisions", deploy_body(digest, fields));
  EXPECT_EQ(reply.status, 200) << reply.body;
  const auto lines = lines_of(reply.body);
  return lines.empty() ? json::value() : lines.back();
}

ledger::Receipt receipt_of(const InvocationId& id, std::optional<Code> failure = {}) {
  ledger::Receipt receipt;
  receipt.begun.key = {id, 1};
  receipt.begun.function = "reader";
  receipt.begun.revision = 1;
  receipt.failure = failure;
  receipt.run = 1500us;
  receipt.billed_ms = 2;
  receipt.price = {2'100'000};
  return receipt;
}

// ---- who gets in ------------------------------------------------------------------------------

TEST(Access, IsRefusedBeforeTheBodyIsRead) {
  const auto fresh = gateway::make_key({7});
  const auto keys = *gateway::Keys::parse(fresh.line);
  const struct {
    const char* why;
    bool needs_key;
    bool loopback;
    const char* method;
    const char* path;
    std::vector<std::pair<std::string, std::string>> fields;
    int status;  // 200: let in.
  } rows[] = {
      {"plain", false, true, "GET", "/api/v1/node", {{"Host", "localhost"}}, 200},
      {"from elsewhere without keys",
       false,
       false,
       "GET",
       "/api/v1/node",
       {{"Host", "localhost"}},
       401},
      {"rebound", false, true, "GET", "/api/v1/node", {{"Host", "evil.example"}}, 403},
      {"foreign page",
       false,
       true,
       "GET",
       "/api/v1/node",
       {{"Host", "localhost"}, {"Origin", "http://evil.example"}},
       403},
      {"foreign page deletes",
       false,
       true,
       "DELETE",
       "/api/v1/functions/a",
       {{"Host", "localhost"}, {"Origin", "http://evil.example"}},
       403},
      {"no key", true, true, "GET", "/api/v1/node", {{"Host", "localhost"}}, 401},
      {"wrong key",
       true,
       true,
       "GET",
       "/api/v1/node",
       {{"Host", "localhost"}, {"x-api-key", "dm_wrong"}},
       401},
      {"key",
       true,
       false,
       "GET",
       "/api/v1/node",
       {{"Host", "localhost"}, {"x-api-key", fresh.key}},
       200},
      {"bearer",
       true,
       false,
       "GET",
       "/api/v1/node",
       {{"Host", "localhost"}, {"Authorization", "Bearer " + fresh.key}},
       200},
      {"key, but rebound",
       true,
       true,
       "GET",
       "/api/v1/node",
       {{"Host", "evil.example"}, {"x-api-key", fresh.key}},
       403},
      {"a form",
       false,
       true,
       "POST",
       "/api/v1/blobs/missing",
       {{"Host", "localhost"}, {"Content-Type", "text/plain"}},
       415},
      {"no type",
       false,
       true,
       "POST",
       "/api/v1/functions/a/revisions",
       {{"Host", "localhost"}},
       415},
      {"JSON as upload",
       false,
       true,
       "PUT",
       "/api/v1/blobs/x",
       {{"Host", "localhost"}, {"Content-Type", "application/json"}},
       415},
      {"unknown path", false, true, "GET", "/api/v1/nothing", {{"Host", "localhost"}}, 404},
      {"path with a tail", false, true, "GET", "/api/v1/node/", {{"Host", "localhost"}}, 404},
      {"wrong method", false, true, "POST", "/api/v1/node", {{"Host", "localhost"}}, 405},
      {"preflight", false, true, "OPTIONS", "/api/v1/node", {{"Host", "localhost"}}, 405},
  };
  for (const auto& row : rows) {
    World world(row.needs_key ? keys : gateway::Keys());
    auto request = request_of(row.method, row.path, "", row.fields);
    request.loopback = row.loopback;
    const auto admitted = world.control->admit(*request.head, request.loopback);
    const auto* refusal = std::get_if<http::Response>(&admitted);
    EXPECT_EQ(refusal == nullptr ? 200 : refusal->status, row.status) << row.why;
  }
}

TEST(Access, SaysWhichMethodsThereAre) {
  World world;
  const auto reply = world.ask(request_of("PATCH", "/api/v1/functions/a", "", World::plain()));
  EXPECT_EQ(reply.fields.find("Allow"), "GET, DELETE");
}

// ---- blobs ------------------------------------------------------------------------------------

TEST(Blobs, AreAskedForUploadedInChunksAndThenThere) {
  World world;
  const std::string ask = R"({"digests":[")" + digest_a + "\",\"" + digest_b + "\"]}";
  auto fields = World::plain();
  fields.emplace_back("Content-Type", "application/octet-stream");
  const std::string path = "/api/v1/blobs/" + digest_a;
  EXPECT_EQ(world.ask(request_of("PUT", path, "abc", fields)).body, "{\"uploaded\":3}\n");
  EXPECT_EQ(world.post("/api/v1/blobs/missing", ask).body,
            R"({"missing":[{"digest":")" + digest_a + R"(","uploaded":3},{"digest":")" + digest_b +
                R"(","uploaded":0}]})" + "\n");
  EXPECT_EQ(world.ask(request_of("PUT", path + "?offset=2", "c", fields)).status, 409);
  EXPECT_EQ(world.ask(request_of("PUT", path + "?offset=3&last=true", "de", fields)).body,
            "{\"uploaded\":5}\n");
  EXPECT_EQ(world.post("/api/v1/blobs/missing", ask).json().at("missing").as_array().size(), 1u);
}

TEST(Blobs, RefuseDigestsThatAreNotOne) {
  World world;
  auto fields = World::plain();
  fields.emplace_back("Content-Type", "application/octet-stream");
  const std::string good(64, 'a');
  const std::string bad[] = {"sha256:" + std::string(64, 'A'),
                             "sha256:" + good.substr(1),
                             "sha256:" + good + "a",
                             "SHA256:" + good,
                             "sha512:" + good,
                             good,
                             "sha256:",
                             "sha256:..",
                             "sha256:" + good.substr(1) + "g",
                             "sha256:" + good.substr(1) + "%00",
                             "sha256:" + good.substr(1) + "\xc3\xa9",
                             "sha256:" + good + "%20",
                             "sha256: " + good.substr(1)};
  for (const std::string& digest : bad) {
    auto request = request_of("PUT", "/api/v1/blobs/x", "abc", fields);
    auto head = std::make_shared<http::Head>(*request.head);
    head->path = "/api/v1/blobs/" + digest;
    request.head = std::move(head);
    EXPECT_EQ(world.ask(std::move(request)).status, 400) << digest;
    const auto asked =
        json::serialize(json::object{{"digests", json::array{json::string(digest)}}});
    EXPECT_EQ(world.post("/api/v1/blobs/missing", asked).status, 400) << digest;
  }
  EXPECT_EQ(world.blobs.appends, 0);
}

TEST(Blobs, RefuseOffsetsThatAreNotOne) {
  World world;
  auto fields = World::plain();
  fields.emplace_back("Content-Type", "application/octet-stream");
  for (const char* query : {"offset=-1", "offset=x", "offset=99999999999999999999",
                            "offset=", "offset=1.5", "last=yes", "offset=0x1"}) {
    const std::string target = "/api/v1/blobs/" + digest_a + "?" + query;
    EXPECT_EQ(world.ask(request_of("PUT", target, "abc", fields)).status, 400) << query;
  }
}

// ---- deploys ----------------------------------------------------------------------------------

TEST(Deploy, StartsTheRevisionOnceAndThenServesIt) {
  World world;
  upload(world, digest_a, "bytes");
  const auto reply = world.post("/api/v1/functions/reader/revisions", deploy_body(digest_a));
  EXPECT_EQ(reply.fields.find("Content-Type"), "application/x-ndjson");
  const auto lines = lines_of(reply.body);
  ASSERT_EQ(lines.size(), 3u) << reply.body;
  EXPECT_EQ(lines[0].at("progress").as_string(), "trying it out");
  EXPECT_EQ(lines[1].at("progress").as_string(), "loading");
  EXPECT_EQ(lines[2].at("revision").at("label").as_string(), "reader@1");
  EXPECT_EQ(lines[2].at("revision").at("notes").at("form").as_string(), "mapped");
  EXPECT_EQ(world.fleet.serving.at("reader")->number, 1);
}

TEST(Deploy, NotesATimeoutThatIsShorterThanStartingIt) {
  World world;
  world.fleet.start_takes = 3520ms;
  const auto note_of = [](const json::value& last) {
    const auto& notes = last.at("revision").at("notes").as_object();
    const auto* note = notes.if_contains("timeout");
    return note == nullptr ? std::string() : std::string(note->get_string());
  };
  EXPECT_EQ(
      note_of(deploy(world, digest_a, R"(,"timeout":"3s")")),
      "shorter than starting it took, 3.52s: a call that has to start it may be refused "
      "(429) before it begins, its 3s being over, unless it comes by AWS's API; give it more");
  EXPECT_EQ(note_of(deploy(world, digest_a, R"(,"timeout":"4s")")), "");
  world.fleet.template_note = "no: it holds a socket";  // It was started twice to know that.
  EXPECT_EQ(note_of(deploy(world, digest_a, R"(,"timeout":"2s")")), "");
  EXPECT_NE(note_of(deploy(world, digest_a, R"(,"timeout":"1s")")), "");
}

TEST(Deploy, TellsWhatTheCodePrintedAsItWasStartedWithinBounds) {
  World world;
  upload(world, digest_a, "bytes");
  world.fleet.prints = {"Traceback\xff", std::string(70'000, 'x'), "more"};
  world.fleet.start_fails = Error{Code::function_failed, "no"};
  const auto reply = world.post("/api/v1/functions/reader/revisions", deploy_body(digest_a));
  const auto lines = lines_of(reply.body);
  ASSERT_EQ(lines.size(), 5u) << reply.body;
  EXPECT_EQ(lines[2].at("printed").as_string(), "Traceback\uFFFD");
  EXPECT_EQ(lines[3].at("printed").as_string(), "(what it prints from here on is left out)");
  EXPECT_TRUE(lines[4].as_object().contains("error"));
}

TEST(Deploy, OfWhatServesAlreadyStartsNothing) {
  World world;
  deploy(world, digest_a);
  const auto last = deploy(world, digest_a);
  EXPECT_TRUE(last.at("unchanged").as_bool());
  EXPECT_EQ(last.at("revision").at("number").as_int64(), 1);
  EXPECT_EQ(world.fleet.tried, 1);
  EXPECT_FALSE(deploy(world, digest_a, R"(,"memory":"1GiB")").at("unchanged").as_bool());
}

TEST(Deploy, OfWhatServesAlreadyButCannotBeWokenStartsItAnew) {
  World world;
  deploy(world, digest_a);
  world.fleet.now.snapshot_is_stale = true;
  deploy(world, digest_a);
  EXPECT_EQ(world.fleet.tried, 2);
}

TEST(Deploy, ThatDoesNotStartLeavesEverythingAsItWas) {
  World world;
  deploy(world, digest_a);
  world.fleet.start_fails = Error{Code::function_failed, "model.onnx: bad magic \xff"};
  const auto last = deploy(world, digest_b);
  EXPECT_EQ(last.at("error").at("code").as_string(), "function_failed");
  EXPECT_EQ(last.at("error").at("message").as_string(),
            "starting reader: model.onnx: bad magic \xEF\xBF\xBD");
  EXPECT_EQ(world.catalog.active("reader")->number, 1);
  EXPECT_EQ(world.fleet.serving.at("reader")->number, 1);
}

TEST(Deploy, ThatCannotBePublishedServesNothing) {
  World world;
  world.catalog.refuses = Error{Code::unavailable, "the disk is full"};
  EXPECT_EQ(deploy(world, digest_a).at("error").at("message").as_string(),
            "publishing reader: the disk is full");
  EXPECT_TRUE(world.fleet.serving.empty());
}

TEST(Deploy, BeatsWhileTheStartTakesLong) {
  World world;
  world.fleet.start_takes = 45s;
  upload(world, digest_a, "bytes");
  const auto reply = world.post("/api/v1/functions/reader/revisions", deploy_body(digest_a));
  EXPECT_NE(reply.body.find("\n\n\n\n\n"), std::string::npos) << reply.body;
  EXPECT_EQ(lines_of(reply.body).back().at("revision").at("number").as_int64(), 1);
}

TEST(Deploy, GoesOnWhenItsClientLeavesAndKeepsOthersOut) {
  World world;
  world.fleet.start_takes = 60s;
  upload(world, digest_a, "bytes");
  world.ask(request_of("POST", "/api/v1/functions/reader/revisions", deploy_body(digest_a),
                       World::json_fields()),
            5s);  // Leaves after the first heartbeat.
  EXPECT_EQ(world.post("/api/v1/functions/reader/revisions", deploy_body(digest_a)).status, 409);
  EXPECT_EQ(world.fleet.tried, 1);
  world.clock.run_until(world.clock.now() + 60s);
  EXPECT_EQ(world.catalog.active("reader")->number, 1);
  EXPECT_EQ(world.post("/api/v1/functions/reader/revisions", deploy_body(digest_a)).status, 200);
}

// Begins a deploy that takes a minute, and leaves.
void begin_deploy(World& world, const std::string& name) {
  world.fleet.start_takes = 60s;
  upload(world, digest_b, "bytes");
  const auto reply = world.ask(request_of("POST", "/api/v1/functions/" + name + "/revisions",
                                          deploy_body(digest_b), World::json_fields()),
                               5s);
  EXPECT_EQ(reply.status, 200) << reply.body;
}

asio::awaitable<void> ask_later(World* world, http::Request what, int* status) {
  co_await world->clock.sleep_until(world->clock.now() + 5s);
  auto response = co_await world->control->handle(std::move(what));
  *status = response.status;
}

// Asks while somebody follows the deploy, and gives its last line.
json::value end_of_deploy(World& world, http::Request other, int* status) {
  world.fleet.start_takes = 60s;
  upload(world, digest_b, "bytes");
  asio::co_spawn(world.io, ask_later(&world, std::move(other), status), asio::detached);
  const TimePoint began = world.clock.now();
  const auto reply = world.post("/api/v1/functions/reader/revisions", deploy_body(digest_b));
  EXPECT_LT(world.clock.now() - began, 30s);
  return lines_of(reply.body).back();
}

TEST(Deploy, IsEndedByARollbackAndNeverPublishes) {
  World world;
  deploy(world, digest_a);
  deploy(world, digest_a, R"(,"memory":"1GiB")");
  int status = 0;
  auto rollback =
      request_of("POST", "/api/v1/functions/reader/rollback", "{}", World::json_fields());
  const auto last = end_of_deploy(world, std::move(rollback), &status);
  EXPECT_EQ(status, 200);
  EXPECT_EQ(last.at("error").at("code").as_string(), "conflict");
  EXPECT_EQ(last.at("error").at("message").as_string(),
            "it was ended by a rollback of \"reader\" meanwhile");
  world.clock.run_until(world.clock.now() + 120s);
  EXPECT_EQ(world.catalog.active("reader")->number, 1);
  EXPECT_EQ(world.catalog.find("reader")->revisions.size(), 2u);
  EXPECT_EQ(world.fleet.serving.at("reader")->number, 1);
}

TEST(Deploy, IsEndedByARemovalAlsoTheFirstOne) {
  for (const bool first : {false, true}) {
    World world;
    if (!first) deploy(world, digest_a);
    int status = 0;
    auto removal = request_of("DELETE", "/api/v1/functions/reader", "", World::plain());
    const auto last = end_of_deploy(world, std::move(removal), &status);
    EXPECT_EQ(status, 200);
    EXPECT_EQ(last.at("error").at("message").as_string(),
              "it was ended by a removal of \"reader\" meanwhile");
    world.clock.run_until(world.clock.now() + 120s);
    EXPECT_EQ(world.catalog.find("reader"), nullptr);
    world.fleet.start_takes = {};
    EXPECT_TRUE(deploy(world, digest_b).as_object().contains("revision"));
  }
}

TEST(Deploy, GoesOnAfterARollbackThatIsRefused) {
  World world;
  deploy(world, digest_a);
  begin_deploy(world, "reader");
  EXPECT_EQ(world.post("/api/v1/functions/reader/rollback", R"({"revision":9})").status, 404);
  EXPECT_EQ(world.post("/api/v1/functions/reader/rollback", "{}").status, 409);
  world.clock.run_until(world.clock.now() + 120s);
  EXPECT_EQ(world.catalog.active("reader")->number, 2);
}

TEST(Deploy, ManyAtOnceKeepOnlyOtherDeploysOut) {
  World world;
  deploy(world, digest_a);
  deploy(world, digest_b);
  for (const char* name : {"a", "b", "c", "d"}) begin_deploy(world, name);
  EXPECT_EQ(world.post("/api/v1/functions/e/revisions", deploy_body(digest_b)).status, 503);
  EXPECT_EQ(world.post("/api/v1/functions/reader/rollback", "{}").status, 200);
  auto removal = request_of("DELETE", "/api/v1/functions/reader", "", World::plain());
  EXPECT_EQ(world.ask(std::move(removal)).status, 200);
}

TEST(Deploy, IsCutWhenTheNodeStops) {
  World world;
  world.fleet.start_takes = 600s;
  upload(world, digest_a, "bytes");
  world.ask(request_of("POST", "/api/v1/functions/reader/revisions", deploy_body(digest_a),
                       World::json_fields()),
            5s);
  world.await(world.control->stop());
  EXPECT_EQ(world.catalog.active("reader"), nullptr);
  EXPECT_TRUE(world.fleet.serving.empty());
}

TEST(Deploy, RefusesWhatIsWrongBeforeItStartsAnything) {
  World world;
  upload(world, digest_a, "bytes");
  const std::string file = R"({"path":"model.onnx","digest":")" + digest_a + R"(","size":5})";
  const std::string manifest = R"({"manifest":{"runtime":"onnx"},"files":)";
  const auto at = [&](const std::string& path) {
    return R"({"path":")" + path + R"(","digest":")" + digest_a + R"(","size":5})";
  };
  const struct {
    const char* why;
    std::string body;
    int status;
  } rows[] = {
      {"not JSON", "{", 400},
      {"not a map", "[]", 400},
      {"no manifest", R"({"files":[]})", 400},
      {"no files", R"({"manifest":{"runtime":"onnx"}})", 400},
      {"unknown field", R"({"manifest":{"runtime":"onnx"},"files":[],"force":true})", 400},
      {"other name", R"({"manifest":{"name":"other","runtime":"onnx"},"files":[]})", 400},
      {"unknown runtime", R"({"manifest":{"runtime":"onyx"},"files":[]})", 400},
      {"not uploaded", deploy_body(digest_b), 409},
      {"other size", manifest + R"([{"path":"a","digest":")" + digest_a + R"(","size":6}]})", 400},
      {"bad digest", manifest + R"([{"path":"a","digest":"sha256:..","size":5}]})", 400},
      {"negative size", manifest + R"([{"path":"a","digest":")" + digest_a + R"(","size":-5}]})",
       400},
      {"path outside", manifest + "[" + at("../a") + "]}", 400},
      {"absolute path", manifest + "[" + at("/a") + "]}", 400},
      {"our own folder", manifest + "[" + at(".dormouse/a") + "]}", 400},
      {"a path twice", manifest + "[" + file + "," + file + "]}", 400},
      {"file and folder", manifest + "[" + at("a") + "," + at("a/b") + "]}", 400},
      {"model not there", R"({"manifest":{"runtime":"onnx","model":"x"},"files":[)" + file + "]}",
       400},
  };
  for (const auto& row : rows) {
    const auto reply = world.post("/api/v1/functions/reader/revisions", row.body);
    EXPECT_EQ(reply.status, row.status) << row.why << ": " << reply.body;
  }
  EXPECT_EQ(world.fleet.tried, 0);
  const auto meant = world.post("/api/v1/functions/reader/revisions",
                                R"({"manifest":{"runtime":"onyx"},"files":[]})");
  EXPECT_EQ(meant.message(), "unknown runtime \"onyx\"; did you mean \"onnx\"?");
}

TEST(Deploy, RefusesMoreFilesThanThereMayBe) {
  World world;
  std::string body = R"({"manifest":{"runtime":"onnx"},"files":[)";
  for (int i = 0; i <= 10'000; ++i) body += (i == 0 ? "1" : ",1");
  EXPECT_EQ(world.post("/api/v1/functions/reader/revisions", body + "]}").status, 413);
}

TEST(Deploy, NamesTheFilesIfItsModelIsNotAmongThem) {
  World world;
  upload(world, digest_a, "bytes");
  for (const char* known : {"llm", "llm-cuda", "python"}) world.fleet.known[known] = {};
  const auto file = [](const std::string& path) {
    return R"({"path":")" + path + R"(","digest":")" + digest_a + R"(","size":5})";
  };
  const std::string two = file("a.onnx") + "," + file("b.txt");
  std::string six = file("1");
  for (const char* each : {"2", "3", "4", "5", "6"}) six += "," + file(each);
  const struct {
    std::string manifest, files, said;
  } rows[] = {
      {R"("runtime":"onnx")", two, R"(model: "model.onnx" is not among the files: a.onnx, b.txt)"},
      {R"("runtime":"llm")", two, R"(model: "model.gguf" is not among the files: a.onnx, b.txt)"},
      {R"("runtime":"llm-cuda")", file("x.gguf"),
       R"(model: "model.gguf" is not among the files: x.gguf)"},
      {R"("runtime":"onnx","model":"x")", six,
       R"(model: "x" is not among the files: 1, 2, 3, 4, 5, …)"},
      {R"("runtime":"onnx","model":"x")", "", R"(model: "x" is not among the files)"},
  };
  for (const auto& row : rows) {
    const auto reply =
        world.post("/api/v1/functions/reader/revisions",
                   R"({"manifest":{)" + row.manifest + R"(},"files":[)" + row.files + "]}");
    EXPECT_EQ(reply.status, 400) << row.manifest;
    EXPECT_EQ(reply.message(), row.said);
  }
  EXPECT_EQ(world.fleet.tried, 0);
  const std::string good =
      R"({"manifest":{"runtime":"onnx"},"files":[)" + file("model.onnx") + "]}";
  EXPECT_EQ(world.post("/api/v1/functions/reader/revisions", good).status, 200);
}

// ---- revisions --------------------------------------------------------------------------------

TEST(Rollback, GoesToTheOneBeforeOrTheOneNamed) {
  World world;
  deploy(world, digest_a);
  EXPECT_EQ(world.post("/api/v1/functions/reader/rollback", "{}").status, 409);
  deploy(world, digest_b);
  deploy(world, digest_a, R"(,"memory":"1GiB")");
  const auto rollback = [&](const char* body) {
    return world.post("/api/v1/functions/reader/rollback", body);
  };
  EXPECT_EQ(rollback("{}").json().at("revision").at("number").as_int64(), 2);
  EXPECT_EQ(world.fleet.serving.at("reader")->number, 2);
  EXPECT_EQ(rollback(R"({"revision":1})").status, 200);
  EXPECT_EQ(world.fleet.serving.at("reader")->number, 1);
  EXPECT_EQ(rollback(R"({"revision":9})").status, 404);
  EXPECT_EQ(rollback(R"({"revision":0})").status, 400);
  EXPECT_EQ(rollback(R"({"revision":"1"})").status, 400);
  EXPECT_EQ(rollback(R"({"rev":1})").status, 400);
  EXPECT_EQ(world.fleet.serving.at("reader")->number, 1);
  const auto revisions = world.get("/api/v1/functions/reader/revisions").json().at("revisions");
  ASSERT_EQ(revisions.as_array().size(), 3u);
  EXPECT_EQ(revisions.at(0).at("number").as_int64(), 3);
  EXPECT_FALSE(revisions.at(0).at("active").as_bool());
  EXPECT_TRUE(revisions.at(2).at("active").as_bool());
}

TEST(Rollback, SaysWhatThereIsIfNothingServedBefore) {
  World world;
  const auto why_not = [&] {
    const auto reply = world.post("/api/v1/functions/reader/rollback", "{}");
    EXPECT_EQ(reply.status, 409);
    return reply.message();
  };
  deploy(world, digest_a);
  EXPECT_EQ(why_not(), "reader@1 is the only revision there is of it");
  deploy(world, digest_b);
  deploy(world, digest_a, R"(,"memory":"1GiB")");
  EXPECT_EQ(world.post("/api/v1/functions/reader/rollback", R"({"revision":1})").status, 200);
  EXPECT_EQ(
      why_not(),
      "reader@1 came after none that is there; `dormouse rollback reader N` goes to another one: "
      "3, 2");
  for (int memory = 100; memory < 110; ++memory) {
    deploy(world, digest_a, R"(,"memory":")" + std::to_string(memory) + R"(MiB")");
  }
  EXPECT_EQ(world.post("/api/v1/functions/reader/rollback", R"({"revision":1})").status, 200);
  EXPECT_TRUE(why_not().ends_with("goes to another one: 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, …"));
}

TEST(Rollback, GoesToWhatServedBeforeAndNotToTheBadOneBetween) {
  World world;
  const auto rollback = [&] {
    return world.post("/api/v1/functions/reader/rollback", "{}")
        .json()
        .at("revision")
        .at("number")
        .as_int64();
  };
  deploy(world, digest_a);
  deploy(world, digest_b);
  EXPECT_EQ(rollback(), 1);
  deploy(world, digest_b, R"(,"memory":"1GiB")");
  EXPECT_EQ(rollback(), 1);
}

TEST(Remove, TakesItFromTheFleetToo) {
  World world;
  deploy(world, digest_a);
  const auto reply =
      world.ask(request_of("DELETE", "/api/v1/functions/reader", "", World::plain()));
  EXPECT_EQ(reply.body, "{\"removed\":\"reader\"}\n");
  EXPECT_EQ(world.fleet.serving.at("reader"), nullptr);
  EXPECT_EQ(world.get("/api/v1/functions/reader").code(), "not_found");
}

// ---- watching ---------------------------------------------------------------------------------

http::Request put_secret(const std::string& name, std::string value) {
  auto fields = World::plain();
  fields.emplace_back("Content-Type", "application/octet-stream");
  return request_of("PUT", "/api/v1/secrets/" + name, std::move(value), std::move(fields));
}

// A world with a function `reader` of a runtime that has secrets.
struct SecretWorld : World {
  SecretWorld() { fleet.known["python"] = {}; }
  Reply deploy_with(const std::string& secrets) {
    blobs.whole.emplace(*Digest::parse(digest_a), "a");
    return post("/api/v1/functions/reader/revisions",
                R"({"manifest":{"runtime":"python","handler":"a.b","secrets":)" + secrets +
                    R"(},"files":[]})");
  }
};

TEST(Secrets, AreSetListedAndRemovedAndNeverShown) {
  SecretWorld world;
  const auto set = world.ask(put_secret("API_KEY", "canary"));
  EXPECT_EQ(set.status, 200) << set.body;
  EXPECT_EQ(set.json().at("secret").at("version").as_int64(), 1);
  EXPECT_EQ(world.ask(put_secret("API_KEY", "canary two")).json().at("secret").at("version"), 2);
  EXPECT_EQ(*world.secrets.read("API_KEY"), "canary two");
  const auto list = world.get("/api/v1/secrets");
  EXPECT_EQ(list.json().at("secrets").at(0).at("name").as_string(), "API_KEY");
  EXPECT_EQ(list.body.find("canary"), list.body.npos);
  EXPECT_EQ(world.ask(request_of("DELETE", "/api/v1/secrets/API_KEY", "", World::plain())).status,
            200);
  EXPECT_EQ(world.ask(request_of("DELETE", "/api/v1/secrets/API_KEY", "", World::plain())).status,
            404);
}

TEST(Secrets, RefuseWhatIsNotText) {
  SecretWorld world;
  const auto refused = world.ask(put_secret("API_KEY", "canary \xff"));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.message(), "the value is not UTF-8; encode bytes, as in base64");
  EXPECT_EQ(world.ask(put_secret("API_KEY", std::string(65 << 10, 'c'))).status, 413);
}

TEST(Secrets, MustBeThereWhenTheyAreDeployed) {
  SecretWorld world;
  const auto refused = world.deploy_with(R"({"DB":{"secret":"prod-db"}})");
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(refused.message(),
            "secrets: \"DB\": there is no secret \"prod-db\"; set it with `dormouse secret set "
            "prod-db`");
  EXPECT_EQ(world.fleet.tried, 0);
  world.ask(put_secret("prod-db", "canary"));
  const auto done = world.deploy_with(R"({"DB":{"secret":"prod-db"}})");
  EXPECT_EQ(done.status, 200) << done.body;
  EXPECT_NE(done.body.find(R"("secrets":{"DB":{"secret":"prod-db","when":"late"}})"),
            done.body.npos);
  EXPECT_EQ(done.body.find("canary"), done.body.npos);
}

TEST(Secrets, ThatChangeMakeTheirFunctionsServeAnew) {
  SecretWorld world;
  world.ask(put_secret("A", "1"));
  world.ask(put_secret("B", "1"));
  ASSERT_EQ(world.deploy_with(R"({"X":{"secret":"A"}})").status, 200);
  EXPECT_EQ(world.fleet.served["reader"], 1);
  const auto set = world.ask(put_secret("A", "2"));
  EXPECT_EQ(set.json().at("secret").at("functions").at(0).as_string(), "reader");
  EXPECT_EQ(world.fleet.served["reader"], 2);
  EXPECT_EQ(world.fleet.serving["reader"], world.catalog.active("reader"));
  world.ask(put_secret("B", "2"));
  EXPECT_EQ(world.fleet.served["reader"], 2);
}

// It may be called exactly, and what it has is old.
TEST(Secrets, ThatChangeRetireTheOldRevisionsThatUseThem) {
  SecretWorld world;
  world.ask(put_secret("A", "1"));
  world.ask(put_secret("B", "1"));
  ASSERT_EQ(world.deploy_with(R"({"X":{"secret":"A"}})").status, 200);
  ASSERT_EQ(world.deploy_with(R"({"X":{"secret":"B"}})").status, 200);
  world.ask(put_secret("B", "2"));
  EXPECT_TRUE(world.fleet.retired.empty());
  world.ask(put_secret("A", "2"));
  EXPECT_EQ(world.fleet.retired, (std::vector<std::pair<std::string, int>>{{"reader", 1}}));
  EXPECT_EQ(world.ask(request_of("DELETE", "/api/v1/secrets/A", "", World::plain())).status, 200);
  EXPECT_EQ(world.fleet.retired.size(), 2u);
}

TEST(Secrets, ThatAreUsedStayAndAnOldRevisionThatLacksItsOwnDoesNotServe) {
  SecretWorld world;
  world.ask(put_secret("A", "1"));
  world.ask(put_secret("B", "1"));
  ASSERT_EQ(world.deploy_with(R"({"X":{"secret":"A"}})").status, 200);
  ASSERT_EQ(world.deploy_with(R"({"X":{"secret":"B"}})").status, 200);
  const auto used = world.ask(request_of("DELETE", "/api/v1/secrets/B", "", World::plain()));
  EXPECT_EQ(used.status, 409);
  EXPECT_NE(used.message().find("is used by reader"), std::string::npos);
  EXPECT_EQ(world.ask(request_of("DELETE", "/api/v1/secrets/A", "", World::plain())).status, 200);
  const auto back = world.post("/api/v1/functions/reader/rollback", "{}");
  EXPECT_EQ(back.status, 409);
  EXPECT_NE(back.message().find("dormouse secret set A"), std::string::npos);
  EXPECT_EQ(world.catalog.active("reader")->number, 2);
}

TEST(List, ShowsRungMemoryAndCalls) {
  World world;
  deploy(world, digest_a);
  world.ledger.end(receipt_of(InvocationId::make({1}, {1, 1})));
  world.ledger.end(receipt_of(InvocationId::make({1}, {2, 2}), Code::function_failed));
  const auto state = [&](fleet::Status status) {
    world.fleet.now = status;
    const auto list = world.get("/api/v1/functions").json();
    return std::string(list.at("functions").at(0).at("state").as_string());
  };
  EXPECT_EQ(state({}), "asleep");
  EXPECT_EQ(state({.stopping = 1}), "stopping");
  EXPECT_EQ(state({.starting = 1}), "waking");
  EXPECT_EQ(state({.starting = 1, .dozing = 2}), "dozing");
  EXPECT_EQ(state({.queued = 1}), "waiting");
  EXPECT_EQ(state({.starting = 1, .queued = 1}), "waking");
  EXPECT_EQ(state({.busy = 1, .dozing = 2}), "awake");
  const auto function = world.get("/api/v1/functions").json().at("functions").at(0);
  EXPECT_EQ(function.at("calls").as_int64(), 2);
  EXPECT_EQ(function.at("failed").as_int64(), 1);
}

TEST(Logs, GivesTheLastLinesOrThoseAfterOne) {
  World world;
  deploy(world, digest_a);
  for (int i = 1; i <= 1200; ++i)
    world.logs.append("reader", {.text = "line " + std::to_string(i)});
  const auto texts = [&](const char* query) {
    const auto lines =
        lines_of(world.get(std::string("/api/v1/functions/reader/logs") + query).body);
    if (lines.empty()) return std::string("none");
    return std::to_string(lines.size()) + " from " +
           std::string(lines.front().at("text").as_string());
  };
  EXPECT_EQ(texts(""), "100 from line 1101");
  EXPECT_EQ(texts("?lines=2"), "2 from line 1199");
  EXPECT_EQ(texts("?lines=10000"), "1200 from line 1");
  EXPECT_EQ(texts("?after=10&lines=1100"), "1100 from line 11");
  EXPECT_EQ(texts("?after=1200"), "none");
  EXPECT_EQ(world.get("/api/v1/functions/reader/logs?lines=0").status, 400);
  EXPECT_EQ(world.get("/api/v1/functions/reader/logs?after=x").status, 400);
  EXPECT_EQ(world.get("/api/v1/functions/nobody/logs").status, 404);
}

TEST(Logs, AreOfOneCallIfItIsNamed) {
  World world;
  deploy(world, digest_a);
  const std::string one = InvocationId::make({1}, {1, 1}).text();
  for (int i = 0; i < 300; ++i) {
    world.logs.append("reader", {.invocation = i % 100 == 0 ? one : "", .text = std::to_string(i)});
  }
  const std::string logs = "/api/v1/functions/reader/logs?invocation=";
  const auto lines = lines_of(world.get(logs + one).body);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1].at("text").as_string(), "100");
  for (int i = 0; i < 300; ++i) world.logs.append("reader", {.invocation = one, .text = "more"});
  EXPECT_EQ(lines_of(world.get(logs + one).body).size(), 303u);
  EXPECT_EQ(lines_of(world.get(logs + one + "&lines=2").body).size(), 2u);
  const auto refused = world.get(logs + "123");
  EXPECT_EQ(refused.status, 400);
  EXPECT_TRUE(refused.body.contains("invocation is a call's id")) << refused.body;
}

TEST(Logs, AreFollowedUntilTheStreamsAreClosed) {
  World world;
  deploy(world, digest_a);
  world.logs.append("reader", {.text = "first"});
  struct Later {
    static asio::awaitable<void> say(World* world) {
      co_await world->clock.sleep_until(world->clock.now() + 7s);
      world->logs.append("reader", {.text = "later \xff"});
      co_await world->clock.sleep_until(world->clock.now() + 7s);
      world->control->close_streams();
    }
  };
  asio::co_spawn(world.io, Later::say(&world), [](std::exception_ptr) {});
  const auto lines = lines_of(world.get("/api/v1/functions/reader/logs?follow=true").body);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1].at("text").as_string(), "later \xEF\xBF\xBD");
  EXPECT_EQ(lines[1].at("sequence").as_int64(), 2);
}

TEST(Usage, IsSummedAndExact) {
  World world;
  world.ledger.end(receipt_of(InvocationId::make({1}, {1, 1})));
  world.ledger.end(receipt_of(InvocationId::make({1}, {2, 2})));
  const auto usage = world.get("/api/v1/usage?by=function&since=24h").json();
  EXPECT_EQ(usage.at("sums").at(0).at("price").as_string(), "0.0000042");
  EXPECT_EQ(usage.at("currency").as_string(), "USD");
  EXPECT_TRUE(world.ledger.asked.by_function);
  // Sums are of whole hours: it is 22:13:20.
  EXPECT_EQ(usage.at("since").as_string(), "2023-11-13T22:00:00.000Z");
  EXPECT_EQ(world.ledger.asked.since.unix_ms, 1'699'912'800'000);
  const auto late = world.get("/api/v1/usage?since=2023-11-14T20:59:59Z").json();
  EXPECT_EQ(late.at("since").as_string(), "2023-11-14T20:00:00.000Z");
  EXPECT_EQ(world.get("/api/v1/usage?since=2023-11-14").status, 200);
  EXPECT_EQ(world.ledger.asked.since.unix_ms, 1'699'920'000'000);
  EXPECT_FALSE(world.ledger.asked.by_function);
  EXPECT_EQ(world.get("/api/v1/usage?since=yesterday").status, 400);
  EXPECT_EQ(world.get("/api/v1/usage?by=moon").status, 400);
}

TEST(Conversations, AreListedTheLastUsedFirstAndForgottenByName) {
  World world;
  deploy(world, digest_a);
  for (const char* name : {"a", "b/c;%", "d"}) {
    world.conversations.keep({{"default", "reader", "12ab"}, name}, nullptr, 7);
  }
  world.conversations.keep({{"default", "other", "12ab"}, "e"}, nullptr, 7);
  const std::string all = "/api/v1/functions/reader/conversations";
  const auto listed = world.get(all).json().at("conversations");
  ASSERT_EQ(listed.as_array().size(), 3u);
  EXPECT_EQ(json::serialize(listed.at(0)),
            R"({"id":"d","revision_digest":"12ab","bytes":7,"used":"2023-11-14T22:13:20.000Z"})");
  const auto forgotten = [&](const std::string& query) {
    return world.ask(request_of("DELETE", all + query, "", World::plain())).status;
  };
  EXPECT_EQ(forgotten("?id=b%2Fc%3B%25"), 200);
  EXPECT_EQ(forgotten("?id=b%2Fc%3B%25"), 404);
  EXPECT_EQ(forgotten("?id="), 404);
  EXPECT_EQ(world.get(all).json().at("conversations").as_array().size(), 2u);
  EXPECT_EQ(forgotten(""), 200);
  EXPECT_TRUE(world.get(all).json().at("conversations").as_array().empty());
  EXPECT_EQ(world.conversations.of("default", "other").size(), 1u);
  EXPECT_EQ(world.get("/api/v1/functions/nobody/conversations").status, 404);
}

TEST(Invocation, HasItsReceipts) {
  World world;
  const auto id = InvocationId::make({1'700'000'000'000}, {1, 1});
  const auto none = world.get("/api/v1/invocations/" + id.text());
  EXPECT_EQ(none.status, 404);
  EXPECT_EQ(none.message(), "there is no receipt of " + id.text() +
                                " (yet, or any more): a call that was refused before it began has "
                                "none");
  ledger::Receipt ended = receipt_of(id);
  ended.tokens = {5, 7, 11};
  world.ledger.end(ended);
  const auto receipts = world.get("/api/v1/invocations/" + id.text()).json().at("receipts");
  EXPECT_EQ(receipts.as_array().size(), 1u);
  EXPECT_EQ(receipts.at(0).at("price").as_string(), "0.0000021");
  EXPECT_EQ(receipts.at(0).at("run_ms").as_double(), 1.5);
  EXPECT_EQ(json::serialize(receipts.at(0).at("tokens")),
            R"({"prompt_read":5,"prompt_reused":7,"generated":11})");
  EXPECT_EQ(world.get("/api/v1/invocations/x").status, 400);
}

// ---- the document -----------------------------------------------------------------------------

// What of `value` is not as `schema` says; "" if all is. Objects are closed: a field that the
// schema does not list is a lie by omission.
std::string mismatch(const json::value& value, const json::object& schema,
                     const json::object& schemas);

std::string object_mismatch(const json::object& value, const json::object& schema,
                            const json::object& schemas) {
  if (schema.contains("required")) {
    for (const auto& name : schema.at("required").as_array()) {
      if (!value.contains(name.as_string())) return "no " + json::serialize(name);
    }
  }
  if (!schema.contains("properties")) return "";
  const json::object& properties = schema.at("properties").as_object();
  for (const auto& [name, field] : value) {
    if (!properties.contains(name)) return "undocumented field " + std::string(name);
    const auto why = mismatch(field, properties.at(name).as_object(), schemas);
    if (!why.empty()) return std::string(name) + ": " + why;
  }
  return "";
}

bool has_type(const json::value& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "integer") return value.is_int64() || value.is_uint64();
  return type == "number" && value.is_number();
}

std::string mismatch(const json::value& value, const json::object& schema,
                     const json::object& schemas) {
  if (schema.contains("$ref")) {
    const std::string_view path = schema.at("$ref").as_string();
    const auto name = path.substr(path.rfind('/') + 1);
    if (!schemas.contains(name)) return "no schema " + std::string(name);
    return mismatch(value, schemas.at(name).as_object(), schemas);
  }
  if (schema.contains("type")) {
    const json::value& type = schema.at("type");
    bool good = false;
    if (type.is_string()) good = has_type(value, type.as_string());
    if (type.is_array()) {
      for (const auto& each : type.as_array()) good = good || has_type(value, each.as_string());
    }
    if (!good) return json::serialize(value) + " is not " + json::serialize(type);
  }
  if (schema.contains("enum")) {
    bool found = false;
    for (const auto& each : schema.at("enum").as_array()) found = found || each == value;
    if (!found) return json::serialize(value) + " is not in the enum";
  }
  if (value.is_object()) return object_mismatch(value.get_object(), schema, schemas);
  if (value.is_array() && schema.contains("items")) {
    for (const auto& each : value.get_array()) {
      const auto why = mismatch(each, schema.at("items").as_object(), schemas);
      if (!why.empty()) return why;
    }
  }
  return "";
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

http::Request example_of(const Route& route, const std::string& id) {
  std::string path(route.pattern);
  path = replaced(path, "{name}", "reader");
  path = replaced(path, "{digest}", digest_b + "?offset=0&last=true");
  path = replaced(path, "{id}", id);
  path = replaced(path, "{number}", "1");
  auto fields = World::plain();
  std::string body;
  if (route.accepts == Accepts::json) {
    fields = World::json_fields();
    body = "{}";
    if (route.takes == "Digests") body = R"({"digests":[")" + std::string(digest_b) + "\"]}";
    if (route.takes == "Deploy") body = deploy_body(digest_a, R"(,"memory":"2GiB")");
  }
  if (route.accepts == Accepts::bytes) {
    fields.emplace_back("Content-Type", "application/octet-stream");
    body = "bytes";
  }
  return request_of(std::string(route.method), path, std::move(body), std::move(fields));
}

TEST(OpenApi, DescribesEveryRouteAndWhatItReallyAnswers) {
  const auto id = InvocationId::make({1'700'000'000'000}, {1, 1});
  const auto document = World().get("/api/v1/openapi.json").json();
  EXPECT_EQ(document.at("openapi").as_string(), "3.1.0");
  const json::object& schemas = document.at("components").at("schemas").as_object();
  std::size_t described = 0;
  for (const auto& path : document.at("paths").as_object()) {
    described += path.value().as_object().size();
  }
  EXPECT_EQ(described, routes().size());
  for (const Route& route : routes()) {
    World world;
    deploy(world, digest_a);
    deploy(world, digest_a, R"(,"memory":"1GiB")");
    world.logs.append("reader", {.text = "hello"});
    world.fleet.more.of_template = world.fleet.more.of_instance = sandbox::Pages{1, 2, 3};
    world.fleet.more.wakes[ledger::Rung::blank].add(1ms);
    world.secrets.known["reader"] = {{"reader", 1, {}}, "value"};
    world.ledger.end(receipt_of(id));
    world.conversations.keep({{"default", "reader", "12ab"}, id.text()}, nullptr, 7);
    const auto reply = world.ask(example_of(route, id.text()));
    ASSERT_EQ(reply.status, 200) << route.pattern << ": " << reply.body;
    const auto lines = route.streams ? lines_of(reply.body) : std::vector{reply.json()};
    EXPECT_FALSE(lines.empty()) << route.pattern;
    const json::object& schema = schemas.at(route.schema).as_object();
    for (const auto& line : lines) {
      EXPECT_EQ(mismatch(line, schema, schemas), "") << route.method << " " << route.pattern;
    }
  }
  const auto error = World().get("/api/v1/functions/nobody").json();
  EXPECT_EQ(mismatch(error, schemas.at("Error").as_object(), schemas), "");
}

TEST(OpenApi, IsNotBelievedByAnswersThatDiffer) {
  const auto document = json::parse(openapi_document("1"));
  const json::object& schemas = document.at("components").at("schemas").as_object();
  const json::object& uploaded = schemas.at("Uploaded").as_object();
  EXPECT_NE(mismatch(json::parse(R"({"uploaded":"3"})"), uploaded, schemas), "");
  EXPECT_NE(mismatch(json::parse(R"({"uploaded":3,"extra":1})"), uploaded, schemas), "");
  EXPECT_NE(mismatch(json::parse("{}"), uploaded, schemas), "");
}

}  // namespace
}  // namespace dormouse::control
