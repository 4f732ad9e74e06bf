// M3: nothing outside of the revision's own files is read, whatever a model says.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtimes/onnx/files.h"
#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

namespace fs = std::filesystem;
using wire::DataType;

// Just enough protobuf to write a model.
std::string varint(std::size_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  return out + static_cast<char>(value);
}
std::string field(std::size_t number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string field(int number, char value) {
  return {static_cast<char>(number << 3), value};
}
std::string entry(const std::string& key, const std::string& value) {
  return field(13, field(1, key) + field(2, value));
}
std::string external_tensor(const std::string& location, const std::string& more = "") {
  return field(1, char{4}) + field(2, char{1}) + field(8, "w") + field(14, char{1}) +
         entry("location", location) + more;
}
std::string float_of_four(const std::string& name) {
  const std::string shape = field(1, field(1, char{4}));
  return field(1, name) + field(2, field(1, field(1, char{1}) + field(2, shape)));
}
// y = x + w
std::string model_with(const std::string& tensor) {
  const std::string node = field(1, "x") + field(1, "w") + field(2, "y") + field(4, "Add");
  const std::string graph = field(1, node) + field(2, "g") + field(5, tensor) +
                            field(11, float_of_four("x")) + field(12, float_of_four("y"));
  return field(1, char{8}) + field(7, graph) + field(8, field(2, char{17}));
}

// As ONNX Runtime writes them, one piece or more to a kernel.
TEST(ExternalTensors, HaveWhatWasPackedOfThem) {
  const auto of = [](const std::string& value, const std::string& key = "prepacked_0") {
    const std::string model = model_with(external_tensor("w", entry(key, value)));
    return external_tensors(std::as_bytes(std::span<const char>(model)));
  };
  const auto two = of("Gemm+77|64;32;0|4096;8;5"), none = of("Gemm");
  ASSERT_TRUE(two && none);
  EXPECT_EQ(two->front().packed, (std::vector<Range>{{64, 32}, {4096, 8}}));
  // ONNX Runtime takes this for one, too.
  EXPECT_EQ(of("Gemm+77|64;32;0", "prepackedX")->front().packed, (std::vector<Range>{{64, 32}}));
  EXPECT_TRUE(none->front().packed.empty());
  for (const char* wrong : {"M|", "M|1", "M|1;2", "M|a;2;0", "M|1;-2;0", "M|1;2;0|;;"}) {
    EXPECT_EQ(of(wrong).error().code, Code::invalid_argument) << wrong;
  }
}

// K1: found wherever a node may be, in a function, and in a branch's subgraph.
TEST(RandomOperator, IsFoundWhereverItIs) {
  const auto node = [](const std::string& type) { return field(1, "x") + field(4, type); };
  const std::string draws = node("Multinomial");
  const auto of = [](const std::string& model) {
    return *random_operator(std::as_bytes(std::span<const char>(model)));
  };
  EXPECT_EQ(of(model_with(external_tensor("w"))), "");
  EXPECT_EQ(of(field(7, field(1, draws))), "Multinomial");
  EXPECT_EQ(of(field(25, field(7, draws))), "Multinomial");
  const std::string branch = field(1, "then_branch") + field(6, field(1, draws));
  EXPECT_EQ(of(field(7, field(1, node("If") + field(5, branch)))), "Multinomial");
  for (const char* type : {"Dropout", "RandomNormalLik", "randomnormal", ""}) {
    EXPECT_EQ(of(field(7, field(1, node(type)))), "") << type;
  }
  const std::string torn = "\x3a\x7f";
  EXPECT_FALSE(random_operator(std::as_bytes(std::span<const char>(torn))));
}

constexpr std::string_view secret = "THE SECRET BYTES";  // Four floats.

class ExternalData : public testing::Test {
 protected:
  ExternalData() {
    base_ = fs::temp_directory_path() / ("onnx_external." + std::to_string(getpid()));
    fs::remove_all(base_);
    fs::create_directories(code() / "weights");
    write(outside(), secret);
    write(code() / "inside", raw({1.f, 2.f, 3.f, 4.f}));
    write(code() / "weights" / "inside", raw({1.f, 2.f, 3.f, 4.f}));
  }
  ~ExternalData() override { fs::remove_all(base_); }

  static void write(const fs::path& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  fs::path code() const { return base_ / "code"; }
  fs::path outside() const { return base_ / "outside"; }

  // Opens a model that names `location`.
  Result<ModelFiles> open(const std::string& location) {
    write(code() / "model.onnx", model_with(external_tensor(location)));
    const auto folder = Folder::open(code());
    CHECK(folder);
    return open_model(*folder, "model.onnx");
  }

  // To what is outside, and to what is not.
  void make_links() {
    fs::create_symlink("../outside", code() / "link");
    fs::create_symlink("inside", code() / "link_inside");
    fs::create_directory_symlink("weights", code() / "linked_folder");
    fs::create_directory_symlink("..", code() / "up");
  }

  fs::path base_;
};

TEST_F(ExternalData, ThatIsTheRevisionsOwnIsRead) {
  for (const char* location : {"inside", "weights/inside"}) {
    write(code() / "model.onnx", model_with(external_tensor(location)));
    WorkerDriver worker(code());
    const auto ready = worker.load({});
    ASSERT_TRUE(ready) << location << ": " << ready.error().message;
    const auto answer = worker.invoke({{{"x", DataType::fp32, {4}}, raw({1.f, 1.f, 1.f, 1.f})}});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, raw({2.f, 3.f, 4.f, 5.f}));
  }
}

TEST_F(ExternalData, ThatIsAnythingElseIsRefused) {
  make_links();
  fs::create_hard_link(outside(), code() / "hard");
  ASSERT_EQ(mkfifo((code() / "fifo").c_str(), 0600), 0);
  const bool has_device = mknod((code() / "device").c_str(), S_IFCHR | 0600, 0x0105) == 0;
  fs::create_directories(code() / "*" / "_ORT_MEM_ADDR_");
  write(code() / "*" / "_ORT_MEM_ADDR_" / "*", secret);
  const struct {
    std::string location;
    std::string why;
  } rows[] = {
      {"", "it is empty"},
      {outside(), "it is absolute"},
      {"/proc/self/environ", "it is absolute"},
      {"../outside", "it has a \"..\""},
      {"weights/../../outside", "it has a \"..\""},
      {"weights/..", "it has a \"..\""},
      {"link", "it is or follows a link"},
      {"link_inside", "it is or follows a link"},
      {"linked_folder/inside", "it is or follows a link"},
      {"up/outside", "it is or follows a link"},
      {"hard", "it has a second name"},
      {"fifo", "it is not a regular file"},
      {has_device ? "device" : "fifo", "it is not a regular file"},
      {"weights", "it is not a regular file"},
      {"nothing", "it cannot be opened"},
      {"inside/", "an empty part"},
      {"weights//inside", "an empty part"},
      {"./inside", "it has a \".\""},
      {std::string("inside\0x", 8), "it has a zero byte"},
      {std::string(2000, 'a'), "it is too long"},
      {"*/_ORT_MEM_ADDR_/*", "it is a memory address"},
  };
  for (const auto& row : rows) {
    const auto files = open(row.location);
    ASSERT_FALSE(files) << row.location;
    EXPECT_EQ(files.error().code, Code::invalid_argument) << row.location;
    EXPECT_NE(files.error().message.find(row.why), std::string::npos) << files.error().message;
    EXPECT_NE(files.error().message.find("of tensor \"w\""), std::string::npos);
  }
}

TEST_F(ExternalData, IsFoundWithoutOpenat2AndLinksAreNot) {
  make_links();
  const int folder = ::open(code().c_str(), O_PATH | O_DIRECTORY);
  const auto opens = [&](const char* path) {
    const wire::Descriptor file(open_by_parts(folder, path, O_RDONLY));
    return static_cast<bool>(file);
  };
  EXPECT_TRUE(opens("inside"));
  EXPECT_TRUE(opens("weights/inside"));
  for (const char* path : {"link", "link_inside", "linked_folder/inside", "up/outside", "nothing",
                           "inside/inside", "weights/nothing"}) {
    EXPECT_FALSE(opens(path)) << path;
  }
  close(folder);
}

// A model reaches files by its tensors wherever they hide, and only in one way.
TEST_F(ExternalData, IsFoundWhereverItHides) {
  const std::string bad = external_tensor("../outside");
  const std::string attribute = field(1, "value") + field(5, bad);
  const std::string node = field(4, "Constant") + field(5, attribute);
  const std::string graph = field(1, node);
  const std::string subgraph = field(1, "body") + field(6, graph);
  const struct {
    const char* where;
    std::string model;
  } rows[] = {
      {"an initializer", model_with(bad)},
      {"a second graph field", model_with(external_tensor("inside")) + field(7, field(5, bad))},
      {"a node's attribute", field(7, graph)},
      {"a list of tensors", field(7, field(1, field(5, field(10, bad))))},
      {"a subgraph", field(7, field(1, field(5, subgraph)))},
      {"a list of graphs", field(7, field(1, field(5, field(11, graph))))},
      {"a sparse tensor's values", field(7, field(15, field(1, bad)))},
  };
  for (const auto& row : rows) {
    write(code() / "model.onnx", row.model);
    const auto folder = Folder::open(code());
    ASSERT_TRUE(folder);
    const auto files = open_model(*folder, "model.onnx");
    ASSERT_FALSE(files) << row.where;
    EXPECT_NE(files.error().message.find("\"..\""), std::string::npos) << files.error().message;
  }
  const auto twice = external_tensors(
      as_bytes(model_with(external_tensor("inside", entry("location", "../outside")))));
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("two locations"), std::string::npos);
  // Functions and training hang off fields beyond 15, whose tags take two bytes.
  const auto far = [](int number, const std::string& bytes) {
    std::string out = field(1, bytes).substr(1);
    const int tag = number << 3 | 2;
    return std::string{static_cast<char>((tag & 127) | 128), static_cast<char>(tag >> 7)} + out;
  };
  for (const std::string& model : {far(25, field(7, node)), far(20, field(1, graph))}) {
    const auto found = external_tensors(as_bytes(model));
    ASSERT_TRUE(found);
    EXPECT_EQ(found->size(), 1u);
  }
}

TEST_F(ExternalData, BearsAnyDamage) {
  const std::string whole = model_with(external_tensor("inside", entry("offset", "16")));
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    refused += !external_tensors(as_bytes(whole.substr(0, i)));
    std::string flipped = whole;
    flipped[i] = static_cast<char>(~flipped[i]);
    refused += !external_tensors(as_bytes(flipped));
  }
  EXPECT_GT(refused, 50);
  std::string deep;
  for (int i = 0; i < 60; ++i) deep = field(1, field(5, field(6, deep)));
  EXPECT_FALSE(external_tensors(as_bytes(field(7, deep))));
}

// While one thread swaps the file for a link to the secret and back, as fast as it can, what is
// opened is the file or an error, never the secret; which whoever just opens it does meet.
TEST_F(ExternalData, IsNeverSwappedUnderneath) {
  write(code() / "model.onnx", model_with(external_tensor("swapped")));
  write(code() / "good", raw({1.f, 2.f, 3.f, 4.f}));
  const fs::path swapped = code() / "swapped";
  fs::rename(code() / "good", swapped);
  fs::create_symlink("../outside", code() / "bad");
  std::atomic<bool> done = false;
  std::thread swapper([&] {
    const auto exchange = [&] {
      return renameat2(AT_FDCWD, swapped.c_str(), AT_FDCWD, (code() / "bad").c_str(),
                       RENAME_EXCHANGE);
    };
    while (!done) CHECK(exchange() == 0);
  });
  const auto folder = Folder::open(code());
  int opened = 0, refused = 0, secrets = 0, met_by_the_careless = 0;
  const auto met_all = [&] { return opened > 0 && refused > 0 && met_by_the_careless > 0; };
  for (int i = 0; i < 10'000 || (i < 1'000'000 && !met_all()); ++i) {
    met_by_the_careless += content(swapped) == secret;
    const auto files = open_model(*folder, "model.onnx");
    refused += !files;
    if (!files) continue;
    ++opened;
    secrets += as_text(files->external_files.at(0).file.bytes()) == secret;
  }
  done = true;
  swapper.join();
  EXPECT_EQ(secrets, 0);
  EXPECT_TRUE(met_all()) << opened << " opened, " << refused << " refused, " << met_by_the_careless;
}

}  // namespace
}  // namespace dormouse::onnx
