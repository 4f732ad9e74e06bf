#include "runtimes/snapshot/format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace dormouse::snapshot {
namespace {

// Tables of two regions and three runs, in words: what is mapped is aligned.
struct Written {
  static constexpr std::string_view key = "the key";
  static constexpr std::string_view names = std::string_view("/lib/a\0/lib/b\0", 14);
  static constexpr std::uint64_t file_bytes = 10 * page;

  Written() {
    header.magic = magic;
    header.key_bytes = key.size();
    header.name_bytes = names.size();
    header.files = 2;
    header.regions = 2;
    header.runs = 3;
    header.contents = 2 * page;
  }
  std::vector<std::uint64_t> words() const {
    std::string text;
    const auto add = [&](const auto& it) {
      text.append(reinterpret_cast<const char*>(&it), sizeof it);
    };
    add(header);
    add(files);
    add(regions);
    add(runs);
    text.append(key).append(names);
    text.resize(2 * page);
    std::vector<std::uint64_t> all(text.size() / sizeof(std::uint64_t));
    std::memcpy(all.data(), text.data(), text.size());
    return all;
  }

  Header header{};
  File files[2] = {{.name = 0, .bytes = 100}, {.name = 7, .bytes = 200}};
  Region regions[2] = {{10 * page, 20 * page, Kind::anonymous, 3, 2, 0},
                       {30 * page, 40 * page, Kind::private_file, 1, 1, 5 * page}};
  Run runs[3] = {{10 * page, 2 * page, 2 * page, 0},
                 {15 * page, 5 * page, 4 * page, 0},
                 {30 * page, page, 9 * page, 1}};
};

Result<Snapshot> read_words(const std::vector<std::uint64_t>& words,
                            std::uint64_t file_bytes = Written::file_bytes) {
  return read(std::as_bytes(std::span(words)), file_bytes);
}

TEST(SnapshotFormat, ReadsWhatWasWritten) {
  const auto words = Written().words();
  const auto it = read_words(words);
  ASSERT_TRUE(it);
  EXPECT_EQ(it->key, "the key");
  EXPECT_EQ(it->name(it->files[1]), "/lib/b");
  EXPECT_EQ(it->regions[1].offset, 5 * page);
  EXPECT_EQ(it->runs[2].at, 9 * page);
}

TEST(SnapshotFormat, RefusesEveryPlaceThatLiesOutside) {
  const auto refused = [](auto change) {
    Written it;
    change(it);
    return !read_words(it.words()).has_value();
  };
  EXPECT_TRUE(refused([](Written& it) { it.header.magic[0] = 'D'; }));
  EXPECT_TRUE(refused([](Written& it) { it.header.runs = ~std::uint64_t{0}; }));
  EXPECT_TRUE(refused([](Written& it) { it.header.key_bytes = ~std::uint64_t{0} - 7; }));
  EXPECT_TRUE(refused([](Written& it) { it.header.name_bytes -= 1; }));  // No NUL at the end.
  EXPECT_TRUE(refused([](Written& it) { it.files[1].name = 14; }));
  EXPECT_TRUE(refused([](Written& it) { it.regions[0].begin += 1; }));
  EXPECT_TRUE(refused([](Written& it) { it.regions[0].end = std::uint64_t{1} << 47; }));
  EXPECT_TRUE(refused([](Written& it) { it.regions[0].end = it.regions[0].begin; }));
  EXPECT_TRUE(refused([](Written& it) { it.regions[0].kind = static_cast<Kind>(9); }));
  EXPECT_TRUE(refused([](Written& it) { it.regions[0].access = 8; }));
  EXPECT_TRUE(refused([](Written& it) { it.regions[0].advice = 8; }));  // MADV_REMOVE, or so.
  EXPECT_TRUE(refused([](Written& it) { it.regions[0].advice = 8; }));
  EXPECT_TRUE(refused([](Written& it) { it.regions[1].file = 2; }));
  EXPECT_TRUE(refused([](Written& it) { std::swap(it.regions[0], it.regions[1]); }));
  EXPECT_TRUE(refused([](Written& it) { it.runs[0].begin = 9 * page; }));
  EXPECT_TRUE(refused([](Written& it) { it.runs[1].bytes += page; }));
  EXPECT_TRUE(refused([](Written& it) { it.runs[2].bytes += page; }));  // Beyond the file.
  EXPECT_TRUE(refused([](Written& it) { it.runs[0].at = page; }));      // In the tables.
  EXPECT_TRUE(refused([](Written& it) { it.runs[2].region = 2; }));
  EXPECT_TRUE(refused([](Written& it) { std::swap(it.runs[0], it.runs[2]); }));
}

TEST(SnapshotFormat, ReadsNothingOutsideWhateverItIsGiven) {
  const std::uint64_t strange[] = {0, 1, page, ~std::uint64_t{0}, std::uint64_t{1} << 63};
  const auto whole = Written().words();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const std::uint64_t value : strange) {
      auto words = whole;
      words[i] = value;
      const auto it = read_words(words);
      if (!it) continue;
      for (const auto& each : it->files) EXPECT_LT(it->name(each).size(), 15u);
      for (const auto& each : it->runs) EXPECT_LE(each.at + each.bytes, Written::file_bytes);
    }
  }
  for (std::size_t left = 0; left < whole.size(); ++left) {
    (void)read_words({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(left)});
  }
}

}  // namespace
}  // namespace dormouse::snapshot
