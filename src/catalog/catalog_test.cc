#include "catalog/catalog.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

#include "catalog/encoding.h"
#include "catalog/validate.h"

namespace dormouse::catalog {
namespace {

namespace fs = std::filesystem;

// A store whose commits fail when told to, as a full disk makes them.
class FailingStore final : public store::Store {
 public:
  explicit FailingStore(store::Store* real) : real_(real) {}
  asio::awaitable<Result<>> transact(std::function<Result<>(store::Transaction&)> work) override {
    if (fails) co_return Error{Code::unavailable, "unknown"};
    co_return co_await real_->transact(std::move(work));
  }
  Result<> transact_now(const std::function<Result<>(store::Transaction&)>& work) override {
    return real_->transact_now(work);
  }
  bool fails = false;

 private:
  store::Store* real_;
};

struct World {
  World() {
    char name[] = "/tmp/dormouse-catalog-XXXXXX";
    CHECK(mkdtemp(name));
    dir = name;
    restart();
  }
  ~World() {
    catalog.reset();
    real.reset();
    fs::remove_all(dir);
  }
  void restart() {
    catalog.reset();
    real.reset();
    real = *store::open(dir / "x.db", migrations());
    store = std::make_unique<FailingStore>(real.get());
    catalog = *open(store.get());
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    asio::io_context io;
    auto result = asio::co_spawn(io, std::move(work), asio::use_future);
    io.run();
    return result.get();
  }
  fs::path dir;
  std::unique_ptr<store::Store> real;
  std::unique_ptr<FailingStore> store;
  std::unique_ptr<Catalog> catalog;
};

Draft a_draft(std::string content = "weights") {
  Draft draft;
  draft.manifest.name = "read-text-line";
  draft.manifest.runtime = "onnx";
  draft.manifest.model = "model.onnx";
  draft.manifest.task_options = {{"keys", "keys.txt"}};
  draft.manifest.env = {{"A", "1"}};
  draft.files = {{"model.onnx", blobs::digest_of(content), content.size()},
                 {"keys.txt", blobs::digest_of("keys"), 4}};
  draft.prepared = {{".dormouse/mapped", blobs::digest_of("mapped"), 6}};
  draft.load_options = {{"form", "mapped"}};
  draft.notes = {{"warm", "1 ms"}};
  draft.ready.signature.inputs = {{"x", wire::DataType::fp32, {-1, 3}}};
  return draft;
}

// What version 2 added.
Draft a_python_draft() {
  Draft draft = a_draft();
  draft.manifest.runtime = "python";
  draft.manifest.handler = "app.handler";
  draft.manifest.python_packages = "host";
  draft.manifest.template_keep_alive = std::chrono::minutes(3);
  return draft;
}

class Encoding : public testing::TestWithParam<Draft> {};

TEST_P(Encoding, GivesBackWhatItWasGiven) {
  const Draft& draft = GetParam();
  const std::string bytes = encode(draft);
  const auto back = decode_draft(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->manifest, draft.manifest);
  EXPECT_EQ(back->files, draft.files);
  EXPECT_EQ(back->prepared, draft.prepared);
  EXPECT_EQ(back->load_options, draft.load_options);
  EXPECT_EQ(back->notes, draft.notes);
  EXPECT_EQ(back->ready.signature.inputs, draft.ready.signature.inputs);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_draft(std::string_view(bytes).substr(0, size))) << size;
  }
  EXPECT_FALSE(decode_draft(bytes + "x"));
  EXPECT_EQ(digest_of(*back), digest_of(draft));
}

INSTANTIATE_TEST_SUITE_P(Catalog, Encoding, testing::Values(a_draft(), a_python_draft()));

// The digest was worked out from docs/formats/catalog.md as it was for version 1 alone.
TEST(Versions, LeaveTheBytesAndTheDigestOfAnOlderDraftAsTheyWere) {
  const std::string bytes = encode(a_draft());
  EXPECT_EQ(bytes[0], 1);
  EXPECT_EQ(digest_of(a_draft()).text(),
            "sha256:ac937829f74d6370bd431a383980ebcaa3ec4624e9decf4659db19ddeaa0dd72");
  const auto back = decode_draft(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->manifest.handler, "");
  EXPECT_EQ(back->manifest.python_packages, "none");
  EXPECT_EQ(back->manifest.template_keep_alive, std::chrono::minutes(10));
}

TEST(Versions, AreTwoAsSoonAsOneNewFieldIsSet) {
  const struct {
    const char* what;
    void (*set)(Manifest&);
  } rows[] = {
      {"handler", [](Manifest& m) { m.handler = "a.b"; }},
      {"packages", [](Manifest& m) { m.python_packages = "host"; }},
      {"template_keep_alive", [](Manifest& m) { m.template_keep_alive = Duration(0); }},
  };
  for (const auto& row : rows) {
    Draft draft = a_draft();
    row.set(draft.manifest);
    const std::string bytes = encode(draft);
    EXPECT_EQ(bytes[0], 2) << row.what;
    EXPECT_EQ(decode_draft(bytes)->manifest, draft.manifest) << row.what;
    EXPECT_NE(digest_of(draft), digest_of(a_draft())) << row.what;
  }
}

TEST(Versions, AreThreeAsSoonAsThereIsASecret) {
  Draft draft = a_python_draft();
  draft.manifest.secrets = {{"API_KEY", {"API_KEY", When::late}}, {"DB", {"prod-db", When::init}}};
  const std::string bytes = encode(draft);
  EXPECT_EQ(bytes[0], 3);
  EXPECT_EQ(decode_draft(bytes)->manifest, draft.manifest);
  EXPECT_NE(digest_of(draft), digest_of(a_python_draft()));
  Draft later = draft;
  later.manifest.secrets["DB"].when = When::late;
  EXPECT_NE(digest_of(draft), digest_of(later));
}

TEST(Versions, AreFiveAsSoonAsThereIsANetwork) {
  Draft draft = a_python_draft();
  draft.manifest.network.reach = Network::Reach::outbound;
  const std::string bytes = encode(draft);
  EXPECT_EQ(bytes[0], 5);
  EXPECT_EQ(decode_draft(bytes)->manifest, draft.manifest);
  EXPECT_NE(digest_of(draft), digest_of(a_python_draft()));
  Draft narrow = draft;
  narrow.manifest.network = {.reach = Network::Reach::allowed, .allow = {"a.example:1", "b:2"}};
  narrow.manifest.secrets = {{"API_KEY", {"API_KEY", When::late}}};
  EXPECT_EQ(decode_draft(encode(narrow))->manifest, narrow.manifest);
  Draft other = narrow;
  other.manifest.network.allow.pop_back();
  EXPECT_NE(digest_of(narrow), digest_of(other));
}

TEST(Versions, AreEightAsSoonAsInstancesAreNotUsedAgain) {
  Draft draft = a_python_draft();
  draft.manifest.reuse = reuse_clean;
  const std::string bytes = encode(draft);
  EXPECT_EQ(bytes[0], 8);
  EXPECT_EQ(decode_draft(bytes)->manifest, draft.manifest);
  EXPECT_NE(digest_of(draft), digest_of(a_python_draft()));
}

TEST(Versions, AreNineAsSoonAsASnapshotIsAskedForOrNot) {
  for (const std::string_view wanted : {snapshot_on, snapshot_off}) {
    Draft draft = a_python_draft();
    draft.manifest.snapshot = wanted;
    const std::string bytes = encode(draft);
    EXPECT_EQ(bytes[0], 9);
    EXPECT_EQ(decode_draft(bytes)->manifest, draft.manifest);
    EXPECT_NE(digest_of(draft), digest_of(a_python_draft()));
  }
}

TEST(Versions, AreSixAsSoonAsThereIsALabel) {
  Draft draft = a_draft();
  draft.manifest.labels = {{"team", "vision"}};
  const std::string bytes = encode(draft);
  EXPECT_EQ(bytes[0], 6);
  EXPECT_EQ(decode_draft(bytes)->manifest, draft.manifest);
  EXPECT_NE(digest_of(draft), digest_of(a_draft()));
}

TEST(Versions, AreSevenAsSoonAsALanguageModelIsRunInAWayOfItsOwn) {
  Draft draft = a_draft();
  draft.manifest.llm = {
      .context = 512, .weights = "mapped", .pooling = "mean", .chat_template = "c"};
  const std::string bytes = encode(draft);
  EXPECT_EQ(bytes[0], 7);
  EXPECT_EQ(decode_draft(bytes)->manifest, draft.manifest);
  EXPECT_NE(digest_of(draft), digest_of(a_draft()));
}

TEST(Versions, RefuseOthersAndAFormThatIsNeverWritten) {
  std::string bytes = encode(a_draft());
  for (const char version : {'\0', '\2', '\3', '\4', '\5', '\xff'}) {
    bytes[0] = version;
    EXPECT_FALSE(decode_draft(bytes)) << int{version};
  }
  bytes = encode(a_python_draft());
  bytes[0] = 1;
  EXPECT_FALSE(decode_draft(bytes));
}

TEST(Catalog, PublishesOnceAndKeepsItOverARestart) {
  World world;
  EXPECT_EQ(world.catalog->active("read-text-line"), nullptr);
  const auto first = world.run(world.catalog->publish(a_draft(), {7}));
  ASSERT_TRUE(first);
  EXPECT_EQ((*first)->label(), "read-text-line@1");
  Draft reordered = a_draft();
  std::swap(reordered.files[0], reordered.files[1]);
  reordered.ready.platform = "said otherwise";
  EXPECT_EQ(*world.run(world.catalog->publish(reordered, {8})), *first);
  EXPECT_EQ((*world.run(world.catalog->publish(a_draft("other"), {9})))->number, 2);
  world.restart();
  const Function* function = world.catalog->find("read-text-line");
  ASSERT_NE(function, nullptr);
  EXPECT_EQ(function->active, 2);
  ASSERT_EQ(function->revisions.size(), 2u);
  EXPECT_EQ(function->revisions.at(1)->digest, (*first)->digest);
  EXPECT_EQ(function->revisions.at(1)->created, WallTime{7});
  EXPECT_EQ(function->revisions.at(1)->ready.signature.inputs, a_draft().ready.signature.inputs);
  EXPECT_EQ(world.catalog->live_blobs().size(), 4u);
}

TEST(Catalog, KeepsBothVersionsOverARestart) {
  World world;
  ASSERT_TRUE(world.run(world.catalog->publish(a_draft(), {7})));
  ASSERT_TRUE(world.run(world.catalog->publish(a_python_draft(), {8})));
  world.restart();
  const Function* function = world.catalog->find("read-text-line");
  ASSERT_NE(function, nullptr);
  ASSERT_EQ(function->revisions.size(), 2u);
  EXPECT_EQ(function->revisions.at(1)->manifest, a_draft().manifest);
  EXPECT_EQ(function->revisions.at(2)->manifest, a_python_draft().manifest);
}

TEST(Catalog, ActivatesAnOlderRevisionAndNeverReusesANumber) {
  World world;
  ASSERT_TRUE(world.run(world.catalog->publish(a_draft("a"), {})));
  ASSERT_TRUE(world.run(world.catalog->publish(a_draft("b"), {})));
  EXPECT_EQ(world.run(world.catalog->activate("read-text-line", 3)).error().code, Code::not_found);
  ASSERT_TRUE(world.run(world.catalog->activate("read-text-line", 1)));
  EXPECT_EQ(world.catalog->active("read-text-line")->number, 1);
  EXPECT_EQ((*world.run(world.catalog->publish(a_draft("c"), {})))->number, 3);
  const RevisionPtr held = world.catalog->active("read-text-line");
  ASSERT_TRUE(world.run(world.catalog->remove("read-text-line")));
  EXPECT_EQ(held->number, 3);
  EXPECT_EQ(world.catalog->find("read-text-line"), nullptr);
  EXPECT_EQ(world.run(world.catalog->remove("read-text-line")).error().code, Code::not_found);
  world.restart();
  EXPECT_TRUE(world.catalog->all().empty());
  EXPECT_EQ((*world.run(world.catalog->publish(a_draft("a"), {})))->number, 4);
}

std::int32_t previous(const World& world) {
  return world.catalog->find("read-text-line")->previous();
}

TEST(Catalog, KnowsWhatServedBeforeOverARestart) {
  World world;
  const auto activate = [&](std::int32_t number) {
    ASSERT_TRUE(world.run(world.catalog->activate("read-text-line", number)));
  };
  ASSERT_TRUE(world.run(world.catalog->publish(a_draft("a"), {})));
  EXPECT_EQ(previous(world), 0);
  ASSERT_TRUE(world.run(world.catalog->publish(a_draft("bad"), {})));
  EXPECT_EQ(previous(world), 1);
  activate(1);
  EXPECT_EQ(previous(world), 0);  // Back and back again is not forth.
  ASSERT_TRUE(world.run(world.catalog->publish(a_draft("bad, too"), {})));
  EXPECT_EQ(previous(world), 1);
  world.restart();
  EXPECT_EQ(previous(world), 1);
  activate(2);  // Which serves after 3 now.
  world.restart();
  EXPECT_EQ(previous(world), 3);
  activate(3);
  EXPECT_EQ(previous(world), 1);
}

TEST(Catalog, RemovesOneRevisionAndItsPlaceInTheRow) {
  World world;
  for (const char* each : {"a", "b", "c"}) {
    ASSERT_TRUE(world.run(world.catalog->publish(a_draft(each), {})));
  }
  const auto remove = [&](std::int32_t number) {
    return world.run(world.catalog->remove_revision("read-text-line", number));
  };
  EXPECT_EQ(remove(3).error().code, Code::conflict);
  EXPECT_EQ(remove(4).error().code, Code::not_found);
  ASSERT_TRUE(remove(2));
  EXPECT_EQ(previous(world), 1);
  world.restart();
  EXPECT_EQ(world.catalog->find("read-text-line")->revisions.size(), 2u);
  EXPECT_EQ(previous(world), 1);
  ASSERT_TRUE(remove(1));
  EXPECT_EQ(previous(world), 0);
  EXPECT_EQ((*world.run(world.catalog->publish(a_draft("b"), {})))->number, 4);
}

// Written before it was kept what served before.
TEST(Catalog, OpensAnOlderDatabase) {
  World world;
  world.catalog.reset();
  world.store.reset();
  world.real.reset();
  const std::string older = world.dir / "older.db";
  {
    const auto store = *store::open(older, migrations().first(1));
    const auto written = store->transact_now([](store::Transaction& t) -> Result<> {
      CHECK(t.run("INSERT INTO functions VALUES ('default', 'read-text-line', 3, 3)"));
      for (std::int64_t number : {1, 3}) {
        const Draft draft = a_draft(number == 1 ? "a" : "b");
        CHECK(t.run("INSERT INTO revisions VALUES ('default', 'read-text-line', ?, ?, 7, ?)",
                    {number, digest_of(draft).text(), encode(draft)}));
      }
      return ok;
    });
    ASSERT_TRUE(written);
  }
  world.real = *store::open(older, migrations());
  world.store = std::make_unique<FailingStore>(world.real.get());
  world.catalog = *open(world.store.get());
  EXPECT_EQ(world.catalog->find("read-text-line")->revisions.size(), 2u);
  EXPECT_EQ(previous(world), 1);
}

TEST(Catalog, StaysAsItWasWhenTheStoreFails) {
  World world;
  ASSERT_TRUE(world.run(world.catalog->publish(a_draft("a"), {})));
  world.store->fails = true;
  EXPECT_EQ(world.run(world.catalog->publish(a_draft("b"), {})).error().code, Code::unavailable);
  EXPECT_EQ(world.run(world.catalog->remove("read-text-line")).error().code, Code::unavailable);
  EXPECT_EQ(world.catalog->active("read-text-line")->number, 1);
  world.store->fails = false;
  EXPECT_EQ((*world.run(world.catalog->publish(a_draft("b"), {})))->number, 2);
}

TEST(Catalog, PublishesOneDraftOnceEvenIfTwoDoItAtOnce) {
  World world;
  asio::io_context io;
  auto first = asio::co_spawn(io, world.catalog->publish(a_draft(), {1}), asio::use_future);
  auto second = asio::co_spawn(io, world.catalog->publish(a_draft(), {2}), asio::use_future);
  io.run();
  EXPECT_EQ(*first.get(), *second.get());
  EXPECT_EQ(world.catalog->find("read-text-line")->revisions.size(), 1u);
  world.restart();
  EXPECT_EQ(world.catalog->find("read-text-line")->revisions.size(), 1u);
}

TEST(Validate, RefusesNames) {
  for (const char* good : {"a", "0", "a-b", "read-text-line", "MyFunction_1", "_a_"})
    EXPECT_TRUE(is_function_name(good));
  EXPECT_TRUE(is_function_name(std::string(64, 'a')));
  EXPECT_FALSE(is_function_name(std::string(65, 'a')));
  for (const char* bad : {"", "-a", "a-", "a.b", "a/b", "../a", "a b", "ä"}) {
    EXPECT_FALSE(is_function_name(bad)) << bad;
  }
}

TEST(Validate, RefusesDraftsThatCannotBeServed) {
  struct {
    const char* why;
    void (*spoil)(Draft&);
  } rows[] = {
      {"no runtime", [](Draft& d) { d.manifest.runtime = ""; }},
      {"a model that is not there", [](Draft& d) { d.manifest.model = "x"; }},
      {"a path upwards", [](Draft& d) { d.files[1].path = "../keys.txt"; }},
      {"an absolute path", [](Draft& d) { d.files[1].path = "/keys.txt"; }},
      {"a path twice", [](Draft& d) { d.files[1].path = d.files[0].path; }},
      {"a file in our folder", [](Draft& d) { d.files[1].path = ".dormouse/x"; }},
      {"a prepared file outside it", [](Draft& d) { d.prepared[0].path = "x"; }},
      {"no memory", [](Draft& d) { d.manifest.resources.memory_bytes = 0; }},
      {"a negative timeout", [](Draft& d) { d.manifest.timeout = Duration(-1); }},
      {"a snapshot that is none", [](Draft& d) { d.manifest.snapshot = "yes"; }},
      {"a reuse that is none", [](Draft& d) { d.manifest.reuse = "dirty"; }},
      {"a clean one of many calls at once",
       [](Draft& d) {
         d.manifest.reuse = reuse_clean;
         d.manifest.concurrency = 2;
       }},
      {"a negative stay", [](Draft& d) { d.manifest.template_keep_alive = Duration(-1); }},
      {"packages of nowhere", [](Draft& d) { d.manifest.python_packages = "pip"; }},
      {"no concurrency", [](Draft& d) { d.manifest.concurrency = 0; }},
      {"more at least than at most", [](Draft& d) { d.manifest.instances_min = 17; }},
  };
  EXPECT_TRUE(validate(a_draft()));
  for (const auto& row : rows) {
    Draft draft = a_draft();
    row.spoil(draft);
    const auto refused = validate(draft);
    ASSERT_FALSE(refused) << row.why;
    EXPECT_EQ(refused.error().code, Code::invalid_argument) << row.why;
  }
}

}  // namespace
}  // namespace dormouse::catalog
