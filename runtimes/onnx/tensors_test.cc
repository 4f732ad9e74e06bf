// Tensors in, tensors out, through a real worker.
#include <gtest/gtest.h>

#include <fstream>

#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

using wire::DataType;

const std::filesystem::path models = ONNX_TESTDATA;

TEST(Tensors, AddsWhatItIsGiven) {
  WorkerDriver worker(models);
  EXPECT_EQ(worker.hello().runtime, "onnx");
  EXPECT_EQ(worker.hello().runtime_version, "1.30.0");
  const auto ready = worker.load({{"model", "add.onnx"}});
  ASSERT_TRUE(ready) << ready.error().message;
  EXPECT_EQ(ready->platform, "onnxruntime_onnx");
  ASSERT_EQ(ready->signature.inputs.size(), 2u);
  EXPECT_EQ(ready->signature.inputs[0], (wire::TensorSpec{"a", DataType::fp32, {-1, 3}}));
  EXPECT_EQ(ready->signature.outputs[0], (wire::TensorSpec{"sum", DataType::fp32, {-1, 3}}));
  const Given a{{"a", DataType::fp32, {1, 3}}, raw({1.f, 2.f, 3.f})};
  const Given b{{"b", DataType::fp32, {1, 3}}, raw({10.f, 20.f, 30.f})};
  for (int round = 0; round < 3; ++round) {  // From the second on, written in place.
    const auto answer = worker.invoke({b, a});
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->content.tensors.size(), 1u);
    EXPECT_EQ(answer->content.tensors[0].spec, (wire::TensorSpec{"sum", DataType::fp32, {1, 3}}));
    EXPECT_EQ(answer->body, raw({11.f, 22.f, 33.f}));
  }
  const Given two{{"a", DataType::fp32, {2, 3}}, raw({1.f, 2.f, 3.f, 4.f, 5.f, 6.f})};
  const Given more{{"b", DataType::fp32, {2, 3}}, two.bytes};
  const auto answer = worker.invoke({two, more});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, raw({2.f, 4.f, 6.f, 8.f, 10.f, 12.f}));
}

TEST(Tensors, CarriesEveryType) {
  WorkerDriver worker(models);
  const auto ready = worker.load({{"model", "types.onnx"}});
  ASSERT_TRUE(ready) << ready.error().message;
  ASSERT_EQ(ready->signature.inputs.size(), 13u);
  for (const std::int64_t count : {0, 1, 3, 3}) {
    std::vector<Given> inputs;
    std::string all;
    for (const wire::TensorSpec& spec : ready->signature.inputs) {
      const std::size_t size = static_cast<std::size_t>(count) * wire::element_size(spec.type);
      Given input{{spec.name, spec.type, {count}}, std::string(size, '\1')};
      all += input.bytes;
      inputs.push_back(std::move(input));
    }
    const auto answer = worker.invoke(inputs);
    ASSERT_TRUE(answer) << answer.error().message;
    std::string back;
    for (const wire::Tensor& tensor : answer->content.tensors) {
      EXPECT_EQ(tensor.spec.shape, std::vector<std::int64_t>{count}) << tensor.spec.name;
      EXPECT_EQ(tensor.offset % wire::element_size(tensor.spec.type), 0u);
      back += answer->body.substr(tensor.offset, tensor.size);
    }
    EXPECT_EQ(back, all);
  }
}

TEST(Tensors, CarriesStrings) {
  WorkerDriver worker(models);
  ASSERT_TRUE(worker.load({{"model", "strings.onnx"}}));
  const std::string bytes = raw({3u}) + "abc" + raw({0u}) + raw({2u}) + std::string("\0x", 2);
  const auto answer = worker.invoke({{{"in", DataType::bytes, {3}}, bytes}});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, bytes);
  const auto short_one = worker.invoke({{{"in", DataType::bytes, {3}}, bytes.substr(0, 14)}});
  ASSERT_FALSE(short_one);
  EXPECT_EQ(short_one.error().code, Code::invalid_argument);
  EXPECT_NE(short_one.error().message.find("\"in\""), std::string::npos);
}

TEST(Tensors, GivesTheOutputsThatAreWanted) {
  WorkerDriver worker(models);
  ASSERT_TRUE(worker.load({{"model", "matmul.onnx"}}));
  const Given x{{"x", DataType::fp32, {1, 4}}, raw({1.f, 0.f, 0.f, 1.f})};
  const auto both = worker.invoke({x});
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ(both->body, raw({6.f, 8.f, -6.f, -8.f}));
  const auto one = worker.invoke({x}, {"z"});
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_EQ(one->body, raw({-6.f, -8.f}));
  const auto swapped = worker.invoke({x}, {"z", "y"});
  ASSERT_TRUE(swapped) << swapped.error().message;
  EXPECT_EQ(swapped->body, raw({-6.f, -8.f, 6.f, 8.f}));
}

TEST(Tensors, LargeOnesCrossAsMemory) {
  WorkerDriver worker(models);
  ASSERT_TRUE(worker.load({{"model", "add.onnx"}}));
  constexpr std::int64_t rows = 40'000;
  Given a{{"a", DataType::fp32, {rows, 3}}, {}};
  for (int i = 0; i < rows * 3; ++i) a.bytes += raw({static_cast<float>(i)});
  Given b{{"b", DataType::fp32, {rows, 3}}, a.bytes};
  for (const std::uint64_t offset : {0u, 4096u, 3u}) {  // The last is not aligned for a float.
    const auto answer = worker.invoke({a, b}, {}, offset);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_TRUE(answer->in_memfd);
    ASSERT_EQ(answer->body.size(), a.bytes.size());
    EXPECT_EQ(answer->body.substr(400, 4), raw({200.f}));
  }
}

// What an output declares is believed only as long as it is true.
TEST(Tensors, OutputsMayBreakTheShapeTheyDeclare) {
  WorkerDriver worker(models);
  ASSERT_TRUE(worker.load({{"model", "liar.onnx"}}));
  const auto invoke = [&](std::initializer_list<float> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    return worker.invoke({{{"x", DataType::fp32, {count}}, raw(values)}});
  };
  const struct {
    std::initializer_list<float> values;
    std::string indices;
  } rows[] = {
      {{5.f, 6.f}, raw<std::int64_t>({0, 1})},
      {{7.f, 8.f}, raw<std::int64_t>({0, 1})},
      {{0.f, 8.f}, raw<std::int64_t>({1})},
      {{7.f, 8.f}, raw<std::int64_t>({0, 1})},
      {{0.f, 0.f}, ""},
  };
  for (const auto& row : rows) {
    const auto answer = invoke(row.values);
    ASSERT_TRUE(answer) << answer.error().message;
    const wire::Tensor& tensor = answer->content.tensors.at(0);
    EXPECT_EQ(answer->body.substr(tensor.offset, tensor.size), row.indices);
    EXPECT_EQ(tensor.spec.shape[1] * 8, static_cast<std::int64_t>(row.indices.size()));
  }
}

// A detector declares a row for each picture, and gives one for each thing that it finds there.
TEST(Tensors, OutputsMayOutgrowTheShapeTheyDeclare) {
  const std::int64_t few = 2, many = 10'000;  // In the frame, and in a memfd.
  const struct {
    std::int64_t batch, then;
  } rows[] = {{1, 3}, {few, many}, {many, 2 * many}, {few, 0}, {many, 1}};
  for (const auto& row : rows) {
    WorkerDriver worker(models);
    ASSERT_TRUE(worker.load({{"model", "grows.onnx"}}));
    const auto counted = [&](std::int64_t total) {
      Given counts{{"counts", DataType::int64, {row.batch}}, raw({total})};
      counts.bytes.resize(static_cast<std::size_t>(row.batch) * 8);
      return worker.invoke({counts});
    };
    for (const std::int64_t total : {row.batch, row.then, row.batch, row.then}) {
      const auto answer = counted(total);
      ASSERT_TRUE(answer) << answer.error().message;
      const wire::Tensor& tensor = answer->content.tensors.at(0);
      EXPECT_EQ(tensor.spec.shape, std::vector<std::int64_t>{total});
      ASSERT_EQ(tensor.size, static_cast<std::size_t>(total) * 8);
      const std::string bytes = answer->body.substr(tensor.offset, tensor.size);
      if (total > 0) EXPECT_EQ(bytes.substr(bytes.size() - 8), raw({total - 1}));
    }
  }
}

TEST(Tensors, AForetoldSizeMayBeBeyondAllMemory) {
  WorkerDriver worker(models);
  ASSERT_TRUE(worker.load({{"model", "sums.onnx"}}));
  const auto small = worker.invoke({{{"x", DataType::fp32, {2, 1}}, raw({1.f, 2.f})}});
  ASSERT_TRUE(small) << small.error().message;
  EXPECT_EQ(small->body, raw<std::int64_t>({1, 2}) + raw({3.f, 3.f, 3.f, 3.f}));
  const auto sums_of = [&](std::int64_t n) {
    return worker.invoke({{{"x", DataType::fp32, {n, 0}}, ""}});
  };
  for (const int bits : {40, 48, 56, 60, 61}) {
    for (const std::int64_t less : {0, 1, 2}) {
      const auto huge = sums_of((std::int64_t{1} << bits) - less);
      ASSERT_FALSE(huge) << bits;
      EXPECT_EQ(huge.error().code, Code::function_failed);
      EXPECT_TRUE(bits < 60 || huge.error().message == "output \"sums\" is larger than all memory")
          << huge.error().message;
    }
  }
  const auto some = sums_of(2);
  ASSERT_TRUE(some) << some.error().message;
  EXPECT_EQ(some->body, std::string(32, '\0'));
}

// ONNX Runtime reads it as no dimensions: what does not fit is the model's to say.
TEST(Tensors, AModelMayLeaveItsNumberOfDimensionsOpen) {
  WorkerDriver worker(models);
  const auto ready = worker.load({{"model", "unranked.onnx"}});
  ASSERT_TRUE(ready) << ready.error().message;
  EXPECT_EQ(ready->signature.inputs.at(0), (wire::TensorSpec{"x", DataType::fp32, {}}));
  const std::vector<std::int64_t> shapes[] = {{}, {1}, {2, 3}, {1, 0, 2}, {2, 3}};
  for (const auto& shape : shapes) {
    const std::size_t size = *wire::element_count(shape) * 4;
    const auto answer = worker.invoke({{{"x", DataType::fp32, shape}, std::string(size, '\0')}});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->content.tensors.at(0).spec.shape, shape);
    EXPECT_EQ(answer->body.size(), size);
  }
}

TEST(Tensors, AModelMayTakeNothing) {
  WorkerDriver worker(models);
  const auto ready = worker.load({{"model", "constant.onnx"}});
  ASSERT_TRUE(ready) << ready.error().message;
  EXPECT_TRUE(ready->signature.inputs.empty());
  for (int round = 0; round < 2; ++round) {
    const auto answer = worker.invoke({});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, raw({1.5f, -2.f}));
  }
}

TEST(Tensors, SaysWhatDoesNotFit) {
  WorkerDriver worker(models);
  ASSERT_TRUE(worker.load({{"model", "add.onnx"}}));
  const Given a{{"a", DataType::fp32, {1, 3}}, raw({1.f, 2.f, 3.f})};
  const Given b{{"b", DataType::fp32, {1, 3}}, a.bytes};
  const Given wrong_type{{"b", DataType::int32, {1, 3}}, a.bytes};
  const Given wrong_width{{"b", DataType::fp32, {1, 2}}, raw({1.f, 2.f})};
  const Given wrong_rank{{"b", DataType::fp32, {3}}, a.bytes};
  const Given other_rows{{"b", DataType::fp32, {2, 3}}, a.bytes + a.bytes};
  const Given too_short{{"b", DataType::fp32, {1, 3}}, raw({1.f})};
  const Given unknown{{"c", DataType::fp32, {1, 3}}, a.bytes};
  const struct {
    std::vector<Given> inputs;
    std::vector<std::string> outputs;
    std::string why;
  } rows[] = {
      {{a}, {}, "input \"b\" is missing"},
      {{a, a, b}, {}, "input \"a\" is given twice"},
      {{a, unknown}, {}, "the model has no input \"c\"; it has \"a\" \"b\""},
      {{a, b}, {"total"}, "the model has no output \"total\"; it has \"sum\""},
      {{a, b}, {"sum", "sum"}, "output \"sum\" is asked for twice"},
      {{a, wrong_type}, {}, "input \"b\": expected FP32 [-1,3], got INT32 [1,3]"},
      {{a, wrong_width}, {}, "input \"b\": expected FP32 [-1,3], got FP32 [1,2]"},
      {{a, wrong_rank}, {}, "input \"b\": expected FP32 [-1,3], got FP32 [3]"},
      {{a, other_rows},
       {},
       "input \"b\": expected FP32 [-1,3], got FP32 [2,3], but \"n\" is 1 in another input"},
      {{a, too_short}, {}, "tensor \"b\" has 4 bytes where its shape of 3 elements asks for 12"},
  };
  for (const auto& row : rows) {
    const auto answer = worker.invoke(row.inputs, row.outputs);
    ASSERT_FALSE(answer) << row.why;
    EXPECT_EQ(answer.error().code, Code::invalid_argument);
    EXPECT_EQ(answer.error().message, row.why);
  }
  EXPECT_TRUE(worker.invoke({a, b}));  // Nothing of that does lasting harm.
}

TEST(Tensors, SaysWhyAModelDoesNotLoad) {
  const auto folder = std::filesystem::temp_directory_path() / "onnx_garbage";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "garbage.onnx") << "this is no model";
  std::ofstream(folder / "empty.onnx");
  const struct {
    std::filesystem::path code;
    wire::Options options;
    std::string why;
  } rows[] = {
      {models, {{"model", "nothing.onnx"}}, "nothing.onnx"},
      {models, {{"model", "../testdata/add.onnx"}}, ".."},
      {models, {{"model", "add.onnx"}, {"threads", "many"}}, "threads: expected 1 to 64"},
      {models, {{"model", "complex.onnx"}}, "complex64"},
      {models, {{"model", "float8.onnx"}}, "cannot be carried"},
      {models, {{"model", "deep.onnx"}}, "input: \"x\" has 17 dimensions, and at most 16"},
      {folder, {{"model", "garbage.onnx"}}, "not a well-formed ONNX file"},
      {folder, {{"model", "empty.onnx"}}, "model"},
  };
  for (const auto& row : rows) {
    WorkerDriver worker(row.code);
    const auto ready = worker.load(row.options);
    ASSERT_FALSE(ready) << row.why;
    EXPECT_NE(ready.error().message.find(row.why), std::string::npos) << ready.error().message;
    EXPECT_EQ(ready.error().message.find('\n'), std::string::npos);
  }
  std::filesystem::remove_all(folder);
}

TEST(Tensors, LeavesOutWhatIsNoTensor) {
  WorkerDriver worker(models);
  const auto ready = worker.load({{"model", "sequence.onnx"}});
  ASSERT_TRUE(ready) << ready.error().message;
  ASSERT_EQ(ready->signature.outputs.size(), 1u);
  EXPECT_EQ(ready->notes.count("left out: both"), 1u);
  const auto answer = worker.invoke({{{"x", DataType::fp32, {2}}, raw({1.f, 2.f})}});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, raw({1.f, 2.f}));
}

}  // namespace
}  // namespace dormouse::onnx
