// What a deploy makes of a model, and what loads from it.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstring>

#include "runtimes/onnx/optimised_key.h"
#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

using wire::DataType;
namespace fs = std::filesystem;

// A revision's folder with one model in it, removed in the end.
class Revision {
 public:
  explicit Revision(const std::string& model) {
    code_ = fs::temp_directory_path() / ("onnx_revision." + std::to_string(getpid()));
    fs::create_directories(prepared());
    fs::copy(fs::path(ONNX_TESTDATA) / model, code_ / "model.onnx");
  }
  ~Revision() { fs::remove_all(code_); }
  const fs::path& code() const { return code_; }
  fs::path prepared() const { return code_ / ".dormouse"; }

 private:
  fs::path code_;
};

Given some_rows() {
  Given x{{"x", DataType::fp32, {2, 24}}, {}};
  for (int i = 0; i < 48; ++i) x.bytes += raw({static_cast<float>(i % 7) / 7});
  return x;
}

std::vector<float> floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), values.size() * 4);
  return values;
}

void expect_alike(const std::string& left, const std::string& right) {
  const auto a = floats(left), b = floats(right);
  ASSERT_EQ(a.size(), b.size());
  ASSERT_FALSE(a.empty());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4);
}

wire::Options prepare(const Revision& revision) {
  WorkerDriver worker(revision.code(), revision.prepared());
  auto prepared = worker.prepare({{"model.digest", "sha256:abc"}});
  CHECK(prepared);
  for (const char* note : {"form", "load default", "load mapped", "p50 default", "p50 mapped"}) {
    EXPECT_FALSE(prepared->notes[note].empty()) << note;
  }
  EXPECT_EQ(prepared->files.size() == 2, prepared->notes["form"] != "original");
  for (const std::string& file : prepared->files) {
    EXPECT_TRUE(fs::exists(revision.prepared() / file)) << file;
  }
  return prepared->options;
}

// As if `form` had been chosen, whichever was: that depends on the machine. The files of both are
// the same and there in any case.
wire::Options loading(const char* form) {
  return {{"model.digest", "sha256:abc"},
          {"optimised.form", form},
          {"optimised.key", optimised_key("sha256:abc", "1.30.0")}};
}

TEST(Prepare, EveryFormGivesTheSameAnswer) {
  const Revision revision("mlp.onnx");
  const wire::Options chosen = prepare(revision);
  if (chosen.contains("optimised.key")) {
    EXPECT_EQ(chosen.at("optimised.key"), loading("")["optimised.key"]);
  }
  std::string expected;
  for (const char* form : {"original", "mapped", "optimised"}) {
    WorkerDriver worker(revision.code());
    const auto ready = worker.load(loading(form));
    ASSERT_TRUE(ready) << ready.error().message;
    EXPECT_EQ(ready->notes.at("form"), form);
    const auto answer = worker.invoke({some_rows()});
    ASSERT_TRUE(answer) << answer.error().message;
    if (expected.empty()) expected = answer->body;
    expect_alike(answer->body, expected);
  }
}

TEST(Prepare, FallsBackToTheModelItselfAndSaysSo) {
  const Revision revision("mlp.onnx");
  prepare(revision);
  wire::Options elsewhere = loading("mapped");
  elsewhere["optimised.key"] = "sha256:abc onnxruntime-1.29.0 x86_64";
  wire::Options other_model = loading("mapped");
  other_model["model.digest"] = "sha256:def";
  for (const wire::Options& stale : {elsewhere, other_model}) {
    WorkerDriver worker(revision.code());
    const auto ready = worker.load(stale);
    ASSERT_TRUE(ready) << ready.error().message;
    EXPECT_EQ(ready->notes.at("form"), "original");
    EXPECT_NE(ready->notes.at("not optimised").find("it was made for"), std::string::npos);
    EXPECT_TRUE(worker.invoke({some_rows()}));
  }
}

// Whatever became of the optimised files, the function still runs.
TEST(Prepare, BearsDamagedFiles) {
  const Revision revision("mlp.onnx");
  prepare(revision);
  fs::resize_file(revision.prepared() / "optimised.weights", 100);
  for (const bool gone : {false, true}) {
    if (gone) fs::remove_all(revision.prepared());
    WorkerDriver worker(revision.code());
    const auto ready = worker.load(loading("mapped"));
    ASSERT_TRUE(ready) << ready.error().message;
    EXPECT_EQ(ready->notes.at("form"), "original");
    EXPECT_FALSE(ready->notes.at("not optimised").empty());
    EXPECT_TRUE(worker.invoke({some_rows()}));
  }
}

// Models of every kind are worth a deploy, though there is nothing to gain.
TEST(Prepare, TakesModelsOfEveryKind) {
  for (const char* model :
       {"add.onnx", "matmul.onnx", "strings.onnx", "types.onnx", "sequence.onnx", "liar.onnx"}) {
    const Revision revision(model);
    WorkerDriver worker(revision.code(), revision.prepared());
    const auto prepared = worker.prepare({});
    ASSERT_TRUE(prepared) << model << ": " << prepared.error().message;
    WorkerDriver another(revision.code());
    const auto ready = another.load(prepared->options);
    ASSERT_TRUE(ready) << model << ": " << ready.error().message;
    EXPECT_EQ(ready->notes.count("not optimised"), 0u) << model;
  }
}

}  // namespace
}  // namespace dormouse::onnx
