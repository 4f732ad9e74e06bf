// What a deploy makes of a model, and what loads from it.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstring>
#include <fstream>

#include "runtimes/onnx/optimised_key.h"
#include "runtimes/onnx/prepare.h"
#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

using wire::DataType;
namespace fs = std::filesystem;

const std::string text_line =
    std::string(ONNX_TEXT_LINE) + "/model.onnx";  // Weights of many sizes.

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

Given a_picture() {
  return {{"x", DataType::fp32, {1, 3, 48, 64}}, std::string(4 * 3 * 48 * 64, '\0')};
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

// As if nothing but `form` were to be had, and however slow it is here: measuring decides otherwise
// on each machine.
void write_only(Form form, const Revision& revision) {
  static const auto library = Library::open();
  CHECK(library);
  const auto code = Folder::open(revision.code());
  CHECK(code);
  fs::remove_all(revision.prepared());
  fs::create_directories(revision.prepared());
  const Form forms[] = {form};
  const auto prepared = onnx::prepare(
      **library,
      {.code = &*code, .model = "model.onnx", .out = revision.prepared(), .forms = forms});
  CHECK(prepared);
  CHECK(!prepared->notes.contains("not " + std::string(name(form))));
}

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
  for (const char* form : {"original", "mapped", "packed"}) {
    if (form != name(Form::original)) {
      write_only(form == name(Form::mapped) ? Form::mapped : Form::packed, revision);
    }
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
  for (const Form form : optimised_forms) {
    const Revision revision(form == Form::packed ? text_line : "mlp.onnx");
    write_only(form, revision);
    fs::resize_file(revision.prepared() / "optimised.weights", 100);
    for (const bool gone : {false, true}) {
      if (gone) fs::remove_all(revision.prepared());
      WorkerDriver worker(revision.code());
      const auto ready = worker.load(loading(std::string(name(form)).c_str()));
      ASSERT_TRUE(ready) << ready.error().message;
      EXPECT_EQ(ready->notes.at("form"), "original");
      EXPECT_FALSE(ready->notes.at("not optimised").empty());
      EXPECT_TRUE(worker.invoke({form == Form::packed ? a_picture() : some_rows()}));
    }
  }
}

// What was packed is the file's, and not memory of the worker's own.
TEST(Prepare, MapsWhatWasPacked) {
  const Revision revision(text_line);
  write_only(Form::packed, revision);
  const auto code = Folder::open(revision.code());
  const auto files = open_model(*code, ".dormouse/optimised.onnx");
  ASSERT_TRUE(files) << files.error().message;
  std::size_t packed = 0;
  for (const ExternalTensor& tensor : files->external_tensors) packed += tensor.packed.size();
  EXPECT_GE(packed, 1u);
  for (const ExternalTensor& tensor : files->external_tensors) {
    for (const Range& range : tensor.packed) EXPECT_EQ(range.offset % 64, 0u) << tensor.name;
  }
  WorkerDriver worker(revision.code());
  ASSERT_TRUE(worker.load(loading("packed")));
  std::ifstream maps("/proc/" + std::to_string(worker.process()) + "/maps");
  std::size_t mappings = 0;
  for (std::string line; std::getline(maps, line);) mappings += line.contains("optimised.weights");
  EXPECT_GT(mappings, packed);  // Ours, and one of each.
}

// Kernels for AVX-512 fault on packed weights that are not aligned.
TEST(Prepare, RunsWhatWasPacked) {
  const Revision revision(text_line);
  std::string expected;
  for (const char* form : {"original", "packed"}) {
    if (form == name(Form::packed)) write_only(Form::packed, revision);
    WorkerDriver worker(revision.code());
    ASSERT_TRUE(worker.load(loading(form)));
    const auto answer = worker.invoke({a_picture()});
    ASSERT_TRUE(answer) << form << ": " << answer.error().message;
    if (expected.empty()) expected = answer->body;
    expect_alike(answer->body, expected);
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
