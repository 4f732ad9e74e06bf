// What llama.cpp's memory costs.
#include "runtimes/llm/memory.h"

#include <ggml-backend.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtimes/llm/model.h"

namespace dormouse::llm {
namespace {

using Buffer = std::unique_ptr<ggml_backend_buffer, decltype(&ggml_backend_buffer_free)>;

Buffer buffer_of(std::size_t bytes) {
  return {ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), bytes),
          ggml_backend_buffer_free};
}

std::span<const char> bytes_of(const Buffer& buffer) {
  return {static_cast<const char*>(ggml_backend_buffer_get_base(buffer.get())),
          ggml_backend_buffer_get_size(buffer.get())};
}

std::size_t pages_there(std::span<const char> bytes) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) & ~(page - 1);
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size());
  std::vector<unsigned char> there((end - begin + page - 1) / page);
  EXPECT_EQ(mincore(reinterpret_cast<void*>(begin), end - begin, there.data()), 0);
  return static_cast<std::size_t>(
      std::ranges::count_if(there, [](unsigned char one) { return (one & 1) != 0; }));
}

TEST(Memory, OfZerosIsTakenWhenItIsUsed) {
  const Buffer buffer = buffer_of((std::size_t{10} << 20) + 12'345);
  ggml_backend_buffer_clear(buffer.get(), 7);
  EXPECT_TRUE(std::ranges::all_of(bytes_of(buffer), [](char byte) { return byte == 7; }));
  EXPECT_GT(pages_there(bytes_of(buffer)), 2560U);
  ggml_backend_buffer_clear(buffer.get(), 0);
  EXPECT_LE(pages_there(bytes_of(buffer)), 2U);
  EXPECT_TRUE(std::ranges::all_of(bytes_of(buffer), [](char byte) { return byte == 0; }));
}

TEST(Memory, OfZerosMayBeSmallerThanAPage) {
  for (const std::size_t size : {1, 100, 4'095, 4'096, 4'097, 9'000}) {
    const Buffer buffer = buffer_of(size);
    ggml_backend_buffer_clear(buffer.get(), 9);
    ggml_backend_buffer_clear(buffer.get(), 0);
    EXPECT_TRUE(std::ranges::all_of(bytes_of(buffer), [](char byte) { return byte == 0; })) << size;
  }
}

// Whether the kernel was asked for huge pages there.
bool asks_for_huge_pages(const void* where) {
  const auto address = reinterpret_cast<std::uintptr_t>(where);
  std::ifstream maps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) == 2) {
      here = begin <= address && address < end;
    }
    if (here && line.starts_with("VmFlags:")) return (line + " ").contains(" hg ");
  }
  return false;
}

TEST(Memory, OfWeightsIsInHugePages) {
  // So large that it is a mapping of its own, and nothing that was free of what somebody asked
  // before.
  constexpr std::size_t large = std::size_t{256} << 20;
  const auto asks = [](std::size_t size) {
    const Buffer buffer = buffer_of(size);
    const auto base = reinterpret_cast<std::uintptr_t>(ggml_backend_buffer_get_base(buffer.get()));
    return asks_for_huge_pages(reinterpret_cast<void*>(base + size / 2));
  };
  EXPECT_FALSE(asks(large));
  const Loading loading(true);
  EXPECT_FALSE(asks(100'000));
  // Sanitizers allocate by themselves.
  constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
  EXPECT_NE(asks(large), sanitized);
}

// Where weights are packed for this processor; nullptr: it has no packing of its own.
ggml_backend_buffer_type_t packed() {
  const ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  const auto list =
      reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
          ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
  ggml_backend_buffer_type_t* each = list != nullptr ? list(device) : nullptr;
  for (; each != nullptr && *each != nullptr; ++each) {
    if (std::string_view(ggml_backend_buft_name(*each)) == "CPU_REPACK") return *each;
  }
  return nullptr;
}

// A matrix as it lies in memory once it is packed.
std::string packed_matrix(ggml_type type, std::int64_t rows, const std::string& bytes) {
  constexpr std::int64_t columns = 512;
  const std::unique_ptr<ggml_context, decltype(&ggml_free)> tensors(
      ggml_init({.mem_size = ggml_tensor_overhead(), .no_alloc = true}), ggml_free);
  ggml_tensor* const matrix = ggml_new_tensor_2d(tensors.get(), type, columns, rows);
  const Buffer buffer(ggml_backend_buft_alloc_buffer(packed(), ggml_nbytes(matrix)),
                      ggml_backend_buffer_free);
  EXPECT_EQ(
      ggml_backend_tensor_alloc(buffer.get(), matrix, ggml_backend_buffer_get_base(buffer.get())),
      GGML_STATUS_SUCCESS);
  EXPECT_NE(matrix->extra, nullptr) << "it is not packed";
  ggml_backend_tensor_set(matrix, bytes.data(), 0, ggml_nbytes(matrix));
  return {static_cast<const char*>(matrix->data), ggml_nbytes(matrix)};
}

TEST(Memory, OfPackedWeightsIsTheSameByTwoThreads) {
  if (packed() == nullptr) GTEST_SKIP() << "this processor packs nothing";
  std::mt19937 random(3);
  std::string bytes(std::size_t{2} << 20, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (const ggml_type type : {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K}) {
    // Both far enough from a half to notice rows that went astray.
    for (const std::int64_t rows : {1024, 1'800, 2'032}) {
      const std::string alone = packed_matrix(type, rows, bytes);
      const Loading loading(true);
      const auto before = loading.packer()->helped();
      EXPECT_TRUE(packed_matrix(type, rows, bytes) == alone) << ggml_type_name(type) << rows;
      EXPECT_EQ(loading.packer()->helped(), before + 1);
    }
  }
}

TEST(Weights, SayWhatTheyTakeEitherWay) {
  for (const bool mapped : {false, true}) {
    const auto model = Model::open(
        {.path = std::string(LLM_TESTDATA) + "/llama.gguf", .context = 64, .mapped = mapped});
    ASSERT_TRUE(model);
    EXPECT_EQ((*model)->notes().at("weights"),
              mapped ? "mapped, 0 MiB of page cache; in memory they would take 0 MiB of memory"
                     : "in memory, 0 MiB of memory; mapped they would take 0 MiB of page cache");
  }
}

}  // namespace
}  // namespace dormouse::llm
