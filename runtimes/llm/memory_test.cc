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
#include <span>
#include <string>
#include <vector>

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
  constexpr std::size_t large = std::size_t{8} << 20;
  const auto asks = [](std::size_t size) {
    const Buffer buffer = buffer_of(size);
    const auto base = reinterpret_cast<std::uintptr_t>(ggml_backend_buffer_get_base(buffer.get()));
    return asks_for_huge_pages(reinterpret_cast<void*>(base + size / 2));
  };
  EXPECT_FALSE(asks(large));
  const HugePages huge(true);
  EXPECT_FALSE(asks(100'000));
  // Sanitizers allocate by themselves.
  constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
  EXPECT_NE(asks(large), sanitized);
}

}  // namespace
}  // namespace dormouse::llm
