#include "runtimes/onnx/npy.h"

#include <gtest/gtest.h>

#include "runtimes/onnx/worker_driver.h"

namespace dormouse::onnx {
namespace {

using wire::DataType;

std::string npy(std::string header, std::string_view values, char version = 1) {
  header += '\n';
  std::string out = "\x93NUMPY";
  out += version;
  out += '\0';
  put(out, static_cast<std::uint16_t>(header.size()));
  if (version == 2) put(out, std::uint16_t{0});
  return out + header + std::string(values);
}

TEST(Npy, WhatIsWrittenIsRead) {
  for (const wire::TensorSpec& spec :
       {wire::TensorSpec{"", DataType::fp32, {2, 3}}, wire::TensorSpec{"", DataType::boolean, {5}},
        wire::TensorSpec{"", DataType::int64, {}}, wire::TensorSpec{"", DataType::fp16, {0, 7}}}) {
    const auto header = npy_header(spec);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->size() % 64, 0u);
    const auto count = wire::element_count(spec.shape);
    const std::string file = *header + std::string(*count * wire::element_size(spec.type), 'x');
    const auto back = parse_npy(as_bytes(file));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->spec, spec);
    EXPECT_EQ(back->offset, header->size());
  }
  EXPECT_FALSE(npy_header({"", DataType::bytes, {1}}));
  EXPECT_FALSE(npy_header({"", DataType::bf16, {1}}));
}

TEST(Npy, ReadsWhatNumPyWrites) {
  const struct {
    std::string file;
    wire::TensorSpec spec;
  } rows[] = {
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }     ", "12345678"),
       {"", DataType::fp32, {2, 1}}},
      {npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", "12345678", 2),
       {"", DataType::int64, {1}}},
      {npy("{\"shape\":(),\"fortran_order\":False,\"descr\":\"|u1\"}", "1"),
       {"", DataType::uint8, {}}},
  };
  for (const auto& row : rows) {
    const auto parsed = parse_npy(as_bytes(row.file));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed->spec, row.spec);
  }
}

TEST(Npy, RefusesWhatItCannotRead) {
  const std::string order = "'fortran_order': False, ";
  const struct {
    std::string file;
    Code code;
  } rows[] = {
      {"", Code::invalid_argument},
      {"PK\3\4", Code::invalid_argument},
      {npy("{'descr': '<f4', " + order + "'shape': (2,), }", "1234"), Code::invalid_argument},
      {npy("{'descr': '<f4', " + order + "'shape': (1,), }", "12345"), Code::invalid_argument},
      {npy("{'descr': '<f4', " + order + "'shape': (-1,), }", "1234"), Code::invalid_argument},
      {npy("{'descr': '<f4', 'shape': (1,), }", "1234"), Code::invalid_argument},
      {npy("{'descr': '<f4', 'descr': '<f4', 'shape': (1,), }", "1234"), Code::invalid_argument},
      {npy("{'descr': '<f4', " + order + "'shape': (1,), 'x': 1}", "1234"), Code::invalid_argument},
      {npy("{'descr': '<f4', " + order + "'shape': (1,), } + evil()", "1234"),
       Code::invalid_argument},
      {npy("{'descr': '<f4', " + order + "'shape': (4611686018427387904, 4611686018427387904), }",
           ""),
       Code::invalid_argument},
      {npy("{'descr': '|O', " + order + "'shape': (1,), }", "1234"), Code::unsupported},
      {npy("{'descr': '>f4', " + order + "'shape': (1,), }", "1234"), Code::unsupported},
      {npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "1234"), Code::unsupported},
      {npy(std::string(5000, ' '), ""), Code::invalid_argument},
      {npy("{}", "", 3), Code::invalid_argument},
  };
  for (const auto& row : rows) {
    const auto parsed = parse_npy(as_bytes(row.file));
    ASSERT_FALSE(parsed) << row.file;
    EXPECT_EQ(parsed.error().code, row.code) << row.file;
  }
}

TEST(Npy, GoesThroughAModel) {
  WorkerDriver worker(ONNX_TESTDATA);
  ASSERT_TRUE(worker.load({{"model", "flatten.onnx"}}));
  const std::string values = raw({1.f, 0.f, 0.f, 1.f});
  const std::string file =
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 2, 2), }", values);
  const auto answer = worker.invoke_raw(std::string(npy_type), file);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->content.content_type, npy_type);
  const auto back = parse_npy(as_bytes(answer->body));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->spec, (wire::TensorSpec{"", DataType::fp32, {1, 4}}));
  EXPECT_EQ(answer->body.substr(back->offset), values);
  EXPECT_TRUE(worker.invoke_raw("Application/X-NPY; version=1", file));
  const auto text = worker.invoke_raw("text/plain", "hello");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, Code::unsupported);
  // Several inputs, and several outputs.
  for (const char* several : {"add.onnx", "matmul.onnx"}) {
    ASSERT_TRUE(worker.load({{"model", several}}));
    const auto refused = worker.invoke_raw(std::string(npy_type), file);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::unsupported);
  }
}

}  // namespace
}  // namespace dormouse::onnx
