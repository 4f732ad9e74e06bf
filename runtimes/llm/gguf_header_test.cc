#include "runtimes/llm/gguf_header.h"

#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <new>
#include <random>

#include "base/bytes.h"
#include "base/check.h"

namespace {

std::atomic<std::size_t> largest_allocation = 0;

}  // namespace

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool counts_allocations = false;  // Sanitizers have their own of these.
#else
constexpr bool counts_allocations = true;

void* operator new(std::size_t size) {
  largest_allocation = std::max(largest_allocation.load(), size);
  void* const got = std::malloc(size);
  if (got == nullptr) throw std::bad_alloc();
  return got;
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

#endif

namespace dormouse::llm {
namespace {

std::string content(const std::string& name) {
  std::ifstream file(std::string(LLM_TESTDATA) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file, key by key and tensor by tensor.
class Written {
 public:
  Written(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    out_ = "GGUF";
    number(version).number(tensors).number(keys);
  }
  template <class Number>
  Written& number(Number value) {
    put(out_, value);
    return *this;
  }
  Written& text(std::string_view text) {
    number(std::uint64_t{text.size()});
    out_ += text;
    return *this;
  }
  Written& tensor(std::string_view name, std::vector<std::uint64_t> sizes, std::uint32_t type,
                  std::uint64_t offset) {
    text(name).number(static_cast<std::uint32_t>(sizes.size()));
    for (const std::uint64_t size : sizes) number(size);
    return number(type).number(offset);
  }
  std::string with(std::size_t bytes) const {
    std::string file = out_;
    file.resize((file.size() + 31) / 32 * 32 + bytes);
    return file;
  }

 private:
  std::string out_;
};

std::string wrong(const std::string& file) {
  const auto header = check_gguf(as_bytes(file));
  return header ? "" : header.error().message;
}

TEST(GgufHeader, KnowsRealFiles) {
  for (const char* name : {"llama.gguf", "bert.gguf"}) {
    const std::string file = content(name);
    const auto header = check_gguf(as_bytes(file));
    ASSERT_TRUE(header) << name << ": " << header.error().message;
    EXPECT_EQ(header->architecture + ".gguf", name);
    EXPECT_GT(header->tensors, 3U);
    EXPECT_GT(header->tensor_bytes, 0U);
    EXPECT_LT(header->tensor_bytes, file.size());
  }
}

TEST(GgufHeader, TakesASoundOne) {
  Written file(1, 1);
  file.text("general.architecture").number(8U).text("llama");
  file.tensor("t", {32, 2}, GGML_TYPE_Q8_0, 0);
  EXPECT_EQ(wrong(file.with(68)), "");
  EXPECT_NE(wrong(file.with(67)), "");
}

TEST(GgufHeader, RefusesWhatIsNone) {
  EXPECT_NE(wrong(""), "");
  EXPECT_NE(wrong("GGML....................."), "");
  EXPECT_NE(wrong("GGUF\3"), "");
  EXPECT_NE(wrong(Written(0, 0, 1).with(64)), "");
  EXPECT_NE(wrong(Written(0, 0, 4).with(64)), "");
}

TEST(GgufHeader, RefusesCountsAndLengthsBeyondTheFile) {
  EXPECT_NE(wrong(Written(0, UINT64_MAX).with(64)), "");
  EXPECT_NE(wrong(Written(UINT64_MAX, 0).with(64)), "");
  EXPECT_NE(wrong(Written(0, 1).number(UINT64_MAX).with(64)), "");
  EXPECT_NE(wrong(Written(0, 1).text("k").number(8U).number(UINT64_MAX).with(64)), "");
  const auto array = [](std::uint32_t type, std::uint64_t count) {
    return wrong(Written(0, 1).text("k").number(9U).number(type).number(count).with(64));
  };
  EXPECT_EQ(array(4, 2), "");
  EXPECT_NE(array(4, UINT64_MAX / 2), "");  // Times four, it wraps.
  EXPECT_NE(array(8, UINT64_MAX), "");
  EXPECT_NE(array(9, 1), "");  // Arrays of arrays.
  EXPECT_NE(array(77, 1), "");
}

TEST(GgufHeader, RefusesAlignmentsThatAreNone) {
  const auto aligned = [](std::uint32_t alignment) {
    return wrong(
        Written(0, 1).text("general.alignment").number(4U).number(alignment).with(1 << 12));
  };
  EXPECT_EQ(aligned(64), "");
  EXPECT_NE(aligned(0), "");
  EXPECT_NE(aligned(48), "");
  EXPECT_NE(aligned(1U << 31), "");
}

TEST(GgufHeader, RefusesAModelInParts) {
  const auto parts = [](std::uint16_t count) {
    return wrong(Written(0, 1).text("split.count").number(2U).number(count).with(64));
  };
  EXPECT_EQ(parts(0), "");
  EXPECT_EQ(parts(1), "");
  EXPECT_TRUE(parts(3).contains("one of 3 parts")) << parts(3);
}

TEST(GgufHeader, RefusesTensorsThatAreNone) {
  const auto tensor = [](std::vector<std::uint64_t> sizes, std::uint32_t type,
                         std::uint64_t offset) {
    return wrong(Written(1, 0).tensor("t", std::move(sizes), type, offset).with(4096));
  };
  EXPECT_EQ(tensor({1024}, GGML_TYPE_F32, 0), "");
  EXPECT_NE(tensor({1025}, GGML_TYPE_F32, 0), "");
  EXPECT_NE(tensor({1024}, GGML_TYPE_F32, 32), "");
  EXPECT_NE(tensor({8}, GGML_TYPE_F32, 7), "");
  EXPECT_NE(tensor({8}, GGML_TYPE_F32, UINT64_MAX - 31), "");
  EXPECT_NE(tensor({0}, GGML_TYPE_F32, 0), "");
  EXPECT_NE(tensor({33}, GGML_TYPE_Q8_0, 0), "");  // Blocks have 32.
  EXPECT_NE(tensor({8}, 9999, 0), "");
  EXPECT_NE(tensor({1ULL << 32, 1ULL << 32}, GGML_TYPE_F32, 0), "");
  EXPECT_NE(tensor({1ULL << 62}, GGML_TYPE_F32, 0), "");
  EXPECT_NE(tensor({1, 1, 1, 1, 1}, GGML_TYPE_F32, 0), "");
  Written twice(2, 0);
  twice.tensor("t", {8}, GGML_TYPE_F32, 0).tensor("t", {8}, GGML_TYPE_F32, 0);
  EXPECT_NE(wrong(twice.with(64)), "");
}

// Of a file's header, what a mutation may change.
struct Part {
  std::size_t begin = 0, end = 0;
};

// The first tensor in the file is the first of those that its header tells of.
Part table_of(const std::string& file) {
  const auto header = check_gguf(as_bytes(file));
  CHECK(header && !header->tensors_in_order.empty());
  const GgufTensor& first = header->tensors_in_order.front();
  std::string record;
  put(record, std::uint64_t{first.name.size()});
  return {file.find(record + first.name), first.begin};
}

// A byte, or eight that sizes, counts and places are likely to be wrong with.
void mutate(std::string& file, Part part, std::mt19937_64& random) {
  constexpr std::uint64_t telling[] = {0,          1,          8,          1ULL << 31,
                                       1ULL << 32, 1ULL << 61, 1ULL << 62, INT64_MAX,
                                       1ULL << 63, 1 - 64ULL,  UINT64_MAX, UINT64_MAX / 2 + 33};
  const std::size_t at = part.begin + random() % (part.end - part.begin);
  if (random() % 2 == 0) {
    file[at] = static_cast<char>(random());
  } else {
    const std::uint64_t number = telling[random() % std::size(telling)];
    std::memcpy(&file[at], &number, std::min(sizeof number, part.end - at));
  }
}

// Whether what was taken is what it says, counted without what wraps.
bool is_sound(const GgufHeader& header, std::size_t file_bytes) {
  return std::ranges::all_of(header.tensors_in_order, [&](const GgufTensor& each) {
    const auto type = static_cast<ggml_type>(each.type);
    double bytes = static_cast<double>(ggml_type_size(type)) / ggml_blck_size(type);
    for (const std::uint64_t size : each.shape) bytes *= static_cast<double>(size);
    return bytes == static_cast<double>(each.bytes) && each.bytes <= file_bytes &&
           each.begin <= file_bytes - each.bytes;
  });
}

// M1: few by day, ten million in scripts/nightly. Every other file is changed in its table of
// tensors only, or most would be refused before that is read.
TEST(GgufHeader, SurvivesMutations) {
  const std::string file = content("llama.gguf");
  const int count = std::getenv("DORMOUSE_NIGHTLY") != nullptr ? 10'000'000 : 3'000;
  const Part table = table_of(file);
  std::mt19937_64 random(11);
  std::string mutated = file;
  int taken = 0;
  std::map<std::string_view, int> refused;  // By what is said of tensors.
  for (const char* each : {"there are more than it has", "name of a tensor", "too many dimensions",
                           "type or the size", "the place of", "behind the file"}) {
    refused[each] = 0;
  }
  std::size_t beyond = 0;  // What one allocation had more than twice the file.
  std::size_t most = 0;
  for (int i = 0; i < count; ++i) {
    std::copy_n(file.begin(), table.end, mutated.begin());
    const Part part = random() % 2 == 0 ? table : Part{0, table.begin};
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0; --changes) {
      mutate(mutated, part, random);
    }
    const std::size_t size = random() % 4 == 0 ? random() % mutated.size() : mutated.size();
    largest_allocation = 0;
    const auto header = check_gguf(as_bytes(std::string_view(mutated).substr(0, size)));
    most = std::max(most, largest_allocation.load());
    beyond = std::max(beyond, largest_allocation - std::min(largest_allocation.load(), 2 * size));
    if (header) {
      ++taken;
      ASSERT_TRUE(is_sound(*header, size)) << i;
    }
    for (auto& [what, times] : refused) times += !header && header.error().message.contains(what);
  }
  EXPECT_GT(taken, count / 10);
  for (const auto& [what, times] : refused) EXPECT_GT(times, count / 200) << what;
  EXPECT_EQ(most > 0, counts_allocations);
  EXPECT_LE(beyond, 1024U);  // An error's text, of a file of a few bytes.
}

}  // namespace
}  // namespace dormouse::llm
