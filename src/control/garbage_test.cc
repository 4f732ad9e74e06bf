#include "control/garbage.h"

#include <gtest/gtest.h>

#include "control/fake_world.h"
#include "fleet/revision_files.h"

namespace dormouse::control {
namespace {

using namespace std::chrono_literals;

const std::string digest_a = "sha256:" + std::string(64, 'a');
const std::string digest_b = "sha256:" + std::string(64, 'b');

struct Platform : World {
  void upload(const std::string& digest) {
    auto fields = plain();
    fields.emplace_back("Content-Type", "application/octet-stream");
    const auto reply =
        ask(request_of("PUT", "/api/v1/blobs/" + digest + "?last=true", "bytes", fields));
    ASSERT_EQ(reply.status, 200) << reply.body;
  }
  Reply deploy(const std::string& name, const std::string& digest, const std::string& more = "") {
    upload(digest);
    return post("/api/v1/functions/" + name + "/revisions",
                R"({"manifest":{"runtime":"onnx")" + more +
                    R"(},"files":[{"path":"model.onnx","digest":")" + digest + R"(","size":5}]})");
  }
  Reply remove(const std::string& path) {
    return ask(request_of("DELETE", "/api/v1/functions/" + path, "", plain()));
  }
  void pass(Duration time) { clock.run_until(clock.now() + time); }
  bool has(const std::string& digest) const { return blobs.whole.contains(*Digest::parse(digest)); }
};

TEST(Garbage, OfARemovedFunctionGoesAtOnceUnlessAnotherHasIt) {
  Platform world;
  world.deploy("a", digest_a);
  world.deploy("a", digest_b);
  world.deploy("other", digest_b);
  const std::string tree = fleet::tree_name(*world.catalog.active("a"));
  ASSERT_EQ(world.remove("a").status, 200);
  world.fleet.serving.clear();
  world.pass(3s);
  EXPECT_FALSE(world.has(digest_a));
  EXPECT_TRUE(world.has(digest_b));
  EXPECT_TRUE(world.blobs.discarded_trees.contains(tree));
}

TEST(Garbage, StaysWhileAnythingOfItLives) {
  Platform world;
  world.deploy("a", digest_a);
  catalog::RevisionPtr instance = world.catalog.active("a");
  ASSERT_EQ(world.remove("a").status, 200);
  world.pass(10min);
  EXPECT_TRUE(world.has(digest_a));
  EXPECT_TRUE(world.blobs.discarded_trees.empty());
  instance.reset();
  world.pass(3s);
  EXPECT_FALSE(world.has(digest_a));
  EXPECT_EQ(world.blobs.discarded_trees.size(), 1u);
}

TEST(Garbage, IsNotWhatSomebodyIsAboutToDeploy) {
  Platform world;
  world.deploy("a", digest_a);
  // "It is here already" is a promise.
  const auto missing = world.post("/api/v1/blobs/missing", R"({"digests":[")" + digest_a + "\"]}");
  EXPECT_EQ(missing.json().at("missing").as_array().size(), 0u);
  ASSERT_EQ(world.remove("a").status, 200);
  world.pass(10s);
  ASSERT_TRUE(world.has(digest_a));
  world.deploy("b", digest_a);
  ASSERT_EQ(world.remove("b").status, 200);
  world.pass(3s);
  EXPECT_FALSE(world.has(digest_a));
}

TEST(Garbage, IsNotWhatADeployThatRunsHas) {
  Platform world;
  world.deploy("a", digest_a);
  world.fleet.start_takes = 60s;
  const auto deploy = [&](const std::string& name) {
    world.upload(digest_a);
    world.ask(
        request_of("POST", "/api/v1/functions/" + name + "/revisions",
                   R"({"manifest":{"runtime":"onnx"},"files":[{"path":"model.onnx","digest":")" +
                       digest_a + R"(","size":5}]})",
                   World::json_fields()),
        5s);
  };
  deploy("b");
  ASSERT_EQ(world.remove("a").status, 200);
  world.pass(10s);
  EXPECT_TRUE(world.has(digest_a));
  world.pass(120s);
  EXPECT_TRUE(world.catalog.active("b"));
  EXPECT_TRUE(world.has(digest_a));
}

TEST(Garbage, OfOneRevisionGoesWhenItIsRemoved) {
  Platform world;
  world.deploy("a", digest_a);
  world.deploy("a", digest_b);
  const auto serves = world.remove("a/revisions/2");
  EXPECT_EQ(serves.status, 409);
  EXPECT_EQ(serves.message(),
            "a@2 serves: roll back to another one first, or remove the whole function");
  EXPECT_EQ(world.remove("a/revisions/3").status, 404);
  EXPECT_EQ(world.remove("b/revisions/1").status, 404);
  EXPECT_EQ(world.remove("a/revisions/x").status, 400);
  EXPECT_EQ(world.remove("a/revisions/1").body, "{\"removed\":\"a@1\"}\n");
  EXPECT_EQ(world.fleet.retired, (std::vector<std::pair<std::string, int>>{{"a", 1}}));
  world.fleet.serving.clear();
  world.pass(3s);
  EXPECT_FALSE(world.has(digest_a));
  EXPECT_TRUE(world.has(digest_b));
  EXPECT_EQ(world.post("/api/v1/functions/a/rollback", "{}").status, 409);
  EXPECT_EQ(world.catalog.active("a")->number, 2);
}

TEST(Garbage, IsCollectedEveryHour) {
  Platform world;
  world.control->begin_collecting();
  world.pass(1s);
  EXPECT_EQ(world.blobs.collections, 1);
  world.pass(2h);
  EXPECT_EQ(world.blobs.collections, 3);
}

}  // namespace
}  // namespace dormouse::control
