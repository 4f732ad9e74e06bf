#include "control/archive.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/utf8.h"
#include "control/unpacking.h"
#include "wire/socket.h"

namespace dormouse::control {
namespace {

namespace fs = std::filesystem;

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

constexpr std::uint16_t stored = 0, deflated = 8;
constexpr std::uint8_t on_dos = 0, on_unix = 3;

// An entry as it is said to be, which need not be what it is.
struct Entry {
  std::string name;
  std::string content;
  std::uint32_t mode = S_IFREG | 0644;
  std::uint8_t made = on_unix;
  std::uint16_t flags = 0;
  std::uint16_t method = stored;
  std::optional<std::uint32_t> says_size, says_crc;
  std::string extra;
};

// As deflate writes what it cannot make smaller; at most 64 KiB.
std::string as_deflated(std::string_view content) {
  std::string out(1, '\1');
  put(out, static_cast<std::uint16_t>(content.size()));
  put(out, static_cast<std::uint16_t>(~content.size()));
  return out.append(content);
}

// From the version that is needed to the length of the extra field.
void put_middle(std::string& out, const Entry& e, const std::string& packed) {
  put(out, std::uint16_t{20});
  put(out, e.flags);
  put(out, e.method);
  put(out, std::uint32_t{0x5A210000});  // A time.
  put(out, e.says_crc.value_or(crc32(e.content)));
  put(out, static_cast<std::uint32_t>(packed.size()));
  put(out, e.says_size.value_or(static_cast<std::uint32_t>(e.content.size())));
  put(out, static_cast<std::uint16_t>(e.name.size()));
  put(out, static_cast<std::uint16_t>(e.extra.size()));
}

std::string zip_of(const std::vector<Entry>& entries) {
  std::string out, directory;
  for (const Entry& e : entries) {
    const std::string packed = e.method == deflated ? as_deflated(e.content) : e.content;
    directory += "PK\1\2";
    put(directory, static_cast<std::uint16_t>(e.made << 8 | 20));
    put_middle(directory, e, packed);
    directory.append(6, '\0');  // No comment, disk 0, binary.
    const std::uint32_t dos_folder = e.name.ends_with('/') ? 0x10 : 0;
    put(directory, e.made == on_unix ? e.mode << 16 : dos_folder);
    put(directory, static_cast<std::uint32_t>(out.size()));
    directory += e.name + e.extra;
    out += "PK\3\4";
    put_middle(out, e, packed);
    out += e.name + e.extra + packed;
  }
  const auto begin = static_cast<std::uint32_t>(out.size());
  out += directory + std::string("PK\5\6\0\0\0\0", 8);
  for (int i = 0; i < 2; ++i) put(out, static_cast<std::uint16_t>(entries.size()));
  put(out, static_cast<std::uint32_t>(directory.size()));
  put(out, begin);
  put(out, std::uint16_t{0});
  return out;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::set<std::string> everything_in(const fs::path& folder) {
  std::set<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    EXPECT_FALSE(entry.is_symlink()) << entry.path();
    EXPECT_TRUE(entry.is_regular_file() || entry.is_directory()) << entry.path();
    paths.insert(entry.path().lexically_relative(folder));
  }
  return paths;
}

// `away` is outside of the folder that it is unpacked into.
std::vector<std::string> paths_that_mislead(const std::string& away) {
  return {away,
          "/etc/cron.d/x",
          "//x",
          "../out",
          "../../a/out",
          "x/../../out",
          "x/..",
          "..",
          ".",
          "./x",
          "x//y",
          "x/./y",
          "..\\out",
          "x\\..\\..\\out",
          "C:\\out",
          "\\\\host\\out",
          std::string("x\0/../../out", 12),
          "x\ny",
          "x\x1b[2Jy",
          "x\x7f",
          ".dormouse/x",
          ".dormouse",
          std::string(256, 'x'),
          std::string(300, 'x') + "/y",
          [] {
            std::string deep = "x";
            while (deep.size() <= 1024) deep += "/x";
            return deep;
          }(),
          std::string(4096, 'n'),
          [] {
            std::string wide(4096, 'w');
            for (std::size_t i = 256; i < wide.size(); i += 257) wide[i] = '/';
            return wide;
          }()};
}

// How an error begins that is about this entry, as far as a name is shown.
std::string named(const std::string& entry) {
  return "code.zip: \"" + (entry.size() > 100 ? entry.substr(0, 100) + "…" : entry) + "\": ";
}

class Zip : public testing::Test {
 protected:
  Zip() {
    fs::create_directories(into);
    std::ofstream(folder.path() / "a" / "beside") << "as it was";
  }

  Result<> unpack(const std::string& bytes, const ArchiveLimits& limits = {}) {
    fs::remove_all(into);
    fs::create_directory(into);
    const fs::path zip = folder.path() / "code.zip";
    std::ofstream(zip, std::ios::binary) << bytes;
    auto done = unpack_zip(zip, into, limits);
    expect_same_apart(zip, done, limits);
    return done;
  }

  // What the daemon reads of it, in another process, is the same.
  void expect_same_apart(const fs::path& zip, const Result<>& done, const ArchiveLimits& limits) {
    const wire::Descriptor from(::open(zip.c_str(), O_RDONLY | O_CLOEXEC));
    const int to = ::memfd_create("unpacked", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    write_unpacked(from.number(), to, limits);
    const off_t size = ::lseek(to, 0, SEEK_END);
    const auto apart = Unpacked::read(http::Body(to, 0, static_cast<std::uint64_t>(size)));
    ASSERT_EQ(apart.has_value(), done.has_value());
    if (!apart) {
      EXPECT_EQ("code.zip: " + apart.error().message, done.error().message);
      return;
    }
    std::set<std::string> files;
    for (const Unpacked::File& file : apart->files()) {
      files.insert(file.path);
      EXPECT_EQ(read(into / file.path), file.content);
    }
    for (const auto& entry : fs::recursive_directory_iterator(into)) {
      const std::string path = entry.path().lexically_relative(into);
      EXPECT_EQ(files.contains(path), entry.is_regular_file()) << path;
    }
  }

  // That it is refused, by the name of the entry, and wrote nothing but plain files into `into`.
  void expect_refused(const std::vector<Entry>& entries, const std::string& name,
                      const std::string& why, const ArchiveLimits& limits = {}) {
    ++bundles;
    const auto done = unpack(zip_of(entries), limits);
    ASSERT_FALSE(done) << name << " should be refused: " << why;
    const std::string& says = done.error().message;
    EXPECT_TRUE(says.starts_with(named(name))) << says << "\nshould name " << name;
    EXPECT_TRUE(says.substr(std::min(says.size(), named(name).size())).contains(why)) << says;
    EXPECT_LT(says.size(), 512u) << says;
    expect_nothing_outside();
  }

  void expect_nothing_outside() {
    everything_in(into);
    fs::remove_all(into);
    EXPECT_EQ(everything_in(folder.path()), (std::set<std::string>{"a", "a/beside", "code.zip"}));
    EXPECT_EQ(read(folder.path() / "a" / "beside"), "as it was");
  }

  TemporaryFolder folder = *TemporaryFolder::make();
  fs::path into = folder.path() / "a" / "into";
  int bundles = 0;
};

TEST_F(Zip, IsUnpackedAsItIs) {
  const auto done = unpack(zip_of({
      {.name = "app.py", .content = "print(1)\n", .method = deflated},
      {.name = "lib/", .mode = S_IFDIR | 0755},
      {.name = "lib/data/keys.txt", .content = std::string(60'000, 'k'), .method = deflated},
      {.name = "lib/data/", .mode = S_IFDIR | 0755},
      {.name = "run", .content = "#!/bin/sh\n", .mode = S_IFREG | 0755},
      {.name = "caf\xc3\xa9", .content = "", .flags = 0x800},
      {.name = "dos.txt", .content = "x", .made = on_dos},
      {.name = "dos/", .made = on_dos},
      {.name = "bare", .content = "y", .mode = 0600},
  }));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(everything_in(into),
            (std::set<std::string>{"app.py", "lib", "lib/data", "lib/data/keys.txt", "run",
                                   "caf\xc3\xa9", "dos.txt", "dos", "bare"}));
  EXPECT_EQ(read(into / "app.py"), "print(1)\n");
  EXPECT_EQ(read(into / "lib/data/keys.txt"), std::string(60'000, 'k'));
}

TEST_F(Zip, HasWhatItsSymbolicLinksLeadTo) {
  const auto link = [](const char* name, const char* target, std::uint16_t method) {
    return Entry{.name = name, .content = target, .mode = S_IFLNK | 0777, .method = method};
  };
  const auto done = unpack(zip_of({
      link("lib64", "lib", stored),
      {.name = "lib/libx.so.1", .content = "x", .mode = S_IFREG | 0755},
      link("lib/libx.so", "libx.so.1", deflated),
      {.name = "bin/", .mode = S_IFDIR | 0755},
      link("bin/run", "../app.py", deflated),
      {.name = "app.py", .content = "print(1)\n", .method = deflated},
  }));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(everything_in(into),
            (std::set<std::string>{"app.py", "bin", "bin/run", "lib", "lib/libx.so",
                                   "lib/libx.so.1", "lib64", "lib64/libx.so", "lib64/libx.so.1"}));
  EXPECT_EQ(read(into / "bin/run"), "print(1)\n");
  EXPECT_EQ(read(into / "lib64/libx.so"), "x");
  const ArchiveLimits limits{.entries_max = 5};  // Those that it lists are as many already.
  EXPECT_EQ(unpack(zip_of({{.name = "a/b/c/d"}, link("e", "a", stored)}), limits).error().code,
            Code::too_large);
}

TEST_F(Zip, IsRefusedForAPathThatLeavesOrMisleads) {
  for (const std::string& name : paths_that_mislead(folder.path() / "a" / "out")) {
    expect_refused({{.name = name, .content = "x"}}, name, "the path \"");
    expect_refused({{.name = "app.py"}, {.name = name + "/", .mode = S_IFDIR | 0755}}, name + "/",
                   "the path \"");
  }
  expect_refused({{.name = "..\\..\\out", .made = on_dos}}, "..\\..\\out", "the path \"");
}

TEST_F(Zip, IsRefusedForANameThatIsNotUtf8) {
  for (const std::string name : {"\xff", "\xc0\xae\xc0\xae/out", "x\x80", "\xed\xa0\x80"}) {
    for (const std::uint16_t flags : {0, 0x800}) {
      const auto done = unpack(zip_of({{.name = name, .flags = flags}}));
      ASSERT_FALSE(done);
      const std::string& says = done.error().message;
      EXPECT_TRUE(says.starts_with(named(valid_utf8(name)) + "the path \"")) << says;
      expect_nothing_outside();
    }
  }
  expect_refused({{.name = ""}}, "", "is empty");
}

TEST_F(Zip, IsRefusedForWhatIsNoPlainFile) {
  const struct {
    std::uint32_t mode;
    const char* says;
  } rows[] = {
      {S_IFLNK | 0777, "is a symbolic link"},
      {S_IFCHR | 0666, "is a device, a pipe or a socket"},
      {S_IFBLK | 0666, "is a device, a pipe or a socket"},
      {S_IFIFO | 0666, "is a device, a pipe or a socket"},
      {S_IFSOCK | 0666, "is a device, a pipe or a socket"},
      {0xF000 | 0666, "is a device, a pipe or a socket"},
      {S_IFREG | S_ISUID | 0755, "has its setuid or setgid bit set"},
      {S_IFREG | S_ISGID | 0755, "has its setuid or setgid bit set"},
      {S_ISUID | S_ISGID | 0755, "has its setuid or setgid bit set"},
  };
  for (const auto& row : rows) {
    for (const std::string name : {"x", "lib/x", "x.py"}) {
      expect_refused({{.name = name, .content = "/etc", .mode = row.mode}}, name, row.says);
    }
    // What would go through a link if it were made.
    const bool is_link = S_ISLNK(row.mode);
    expect_refused({{.name = "link", .content = "..", .mode = row.mode}, {.name = "link/out"}},
                   is_link ? "link/out" : "link", is_link ? "is a file and a folder" : row.says);
  }
  expect_refused({{.name = "lib/", .mode = S_IFDIR | S_ISUID | 0755}}, "lib/", "setuid");
  expect_refused({{.name = "lib/", .mode = S_IFDIR | S_ISGID | 0755}}, "lib/", "setuid");
}

// S8: whatever is wrong with one entry, it is so among others, before and behind them, packed or
// not.
TEST_F(Zip, IsRefusedForEachOfACorpusOfBundles) {
  struct Wrong {
    Entry entry;
    const char* why;
  };
  std::vector<Wrong> wrong;
  for (std::string& path : paths_that_mislead(folder.path() / "a" / "out")) {
    wrong.push_back({{.name = std::move(path), .content = "x"}, "the path \""});
  }
  for (const char* target : {"/etc/passwd", "../../a/beside", "/dev/sda", "/proc/1/root", "/sys"}) {
    wrong.push_back({{.name = "link", .content = target, .mode = S_IFLNK | 0777}, "symbolic link"});
  }
  for (const std::uint32_t kind : {S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK}) {
    wrong.push_back({{.name = "dev/sda", .content = "", .mode = kind | 0755}, "is a device"});
  }
  wrong.push_back({{.name = "bin/su", .content = "", .mode = S_IFREG | S_ISUID | 0755}, "setuid"});
  // However long its name is.
  const std::string deep = std::string(255, 'd') + "/" + std::string(255, 'e') + "/x";
  wrong.push_back({{.name = deep, .content = "/etc", .mode = S_IFLNK | 0777}, "symbolic link"});
  const Entry good{.name = "app.py", .content = "print(1)"};
  const Entry other{.name = "lib/util.py", .content = "pass"};
  for (auto& [entry, why] : wrong) {
    for (const std::uint16_t method : {stored, deflated}) {
      entry.method = method;
      expect_refused({entry}, entry.name, why);
      expect_refused({entry, good}, entry.name, why);
      expect_refused({good, entry, other}, entry.name, why);
      expect_refused({good, other, entry}, entry.name, why);
    }
  }
  EXPECT_GE(bundles, 200);
}

TEST_F(Zip, IsRefusedForTwoEntriesOfOnePlace) {
  expect_refused({{.name = "x"}, {.name = "x"}}, "x", "is there twice");
  expect_refused({{.name = "x", .content = "1"}, {.name = "x", .content = "2"}}, "x", "twice");
  expect_refused({{.name = "d/", .mode = S_IFDIR}, {.name = "d/", .mode = S_IFDIR}}, "d/", "twice");
  expect_refused({{.name = "App.py"}, {.name = "app.py"}}, "app.py",
                 "differs only in case from \"App.py\"");
  expect_refused({{.name = "\xc3\x89"}, {.name = "\xc3\xa9"}}, "\xc3\xa9", "only in case");
  expect_refused({{.name = "Lib/x"}, {.name = "lib/y"}}, "lib/y", "only in case from \"Lib\"");
  expect_refused({{.name = "lib/x"}, {.name = "LIB/", .mode = S_IFDIR}}, "LIB/",
                 "only in case from \"lib\"");
  expect_refused({{.name = "a/b/C/d"}, {.name = "a/b/c/e"}}, "a/b/c/e", "from \"a/b/C\"");
  expect_refused({{.name = "x"}, {.name = "x/y"}}, "x/y", "is a file and a folder");
  expect_refused({{.name = "x/y"}, {.name = "x"}}, "x", "is a file and a folder");
  expect_refused({{.name = "x"}, {.name = "x/", .mode = S_IFDIR}}, "x/", "a file and a folder");
}

TEST_F(Zip, IsRefusedForContentThatIsNotWhatItSays) {
  const std::string ten = "0123456789";
  for (const std::uint16_t method : {stored, deflated}) {
    for (const std::uint32_t size : {0u, 5u, 9u, 11u, 0x7FFFFFFFu}) {
      expect_refused({{.name = "x", .content = ten, .method = method, .says_size = size}}, "x", "");
    }
    expect_refused({{.name = "x", .content = ten, .method = method, .says_crc = 1}}, "x", "CRC");
    expect_refused({{.name = "x", .content = ten, .flags = 1, .method = method}}, "x",
                   "is encrypted");
    expect_refused({{.name = "x", .content = ten, .flags = 0x41, .method = method}}, "x",
                   "is encrypted");
  }
  expect_refused({{.name = "x", .content = ten, .method = 99}}, "x", "");
  expect_refused({{.name = "x", .content = ten, .method = 1}}, "x", "");
}

TEST_F(Zip, IsRefusedForMoreThanThereMayBe) {
  const std::string ten = "0123456789";
  expect_refused({{.name = "x", .content = ten}, {.name = "y", .content = ten}}, "y",
                 "more than 19 bytes in all", {.bytes_max = 19});
  EXPECT_TRUE(unpack(zip_of({{.name = "x", .content = ten}}), {.bytes_max = 10}));
  expect_refused({{.name = "a/b/c"}}, "a/b/c", "more than 2 files and folders", {.entries_max = 2});
  // 5 GiB, said in zip64's way.
  std::string large("\1\0\x08\0", 4);
  put(large, std::uint64_t{5} << 30);
  expect_refused({{.name = "x", .content = ten, .says_size = 0xFFFFFFFF, .extra = large}}, "x",
                 "more than 4294967296 bytes in all");
  std::vector<Entry> many(10'000);
  for (std::size_t i = 0; i < many.size(); ++i) many[i].name = "x" + std::to_string(i);
  EXPECT_TRUE(unpack(zip_of(many)));
  many.push_back({.name = "one-more"});
  expect_refused(many, "one-more", "more than 10000 files and folders");
}

TEST_F(Zip, IsRefusedIfItIsNone) {
  const std::string good = zip_of({{.name = "x", .content = "content"}});
  const std::string others[] = {"",
                                "PK",
                                "not a zip",
                                std::string(100'000, '\0'),
                                good.substr(5),
                                good.substr(0, good.size() - 30),
                                "\x1f\x8b" + good.substr(2)};
  for (const std::string& bytes : others) {
    const auto done = unpack(bytes);
    ASSERT_FALSE(done) << bytes.substr(0, 9);
    EXPECT_EQ(done.error().code, Code::invalid_argument);
    expect_nothing_outside();
  }
  EXPECT_FALSE(unpack_zip(folder.path() / "nothing.zip", into));
}

// The process that writes it may be in a stranger's hands.
TEST(Unpacked, IsRefusedIfItIsNotWhatItShouldBe) {
  const auto read_back = [](const std::string& written) {
    return Unpacked::read(*http::Body::in_memfd(written));
  };
  std::string good(1, '\1');
  put_sized(good, "app.py");
  put(good, std::uint64_t{3});
  good += "abc\2";
  ASSERT_TRUE(read_back(good));
  EXPECT_EQ(read_back(good)->files().at(0).content, "abc");
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(read_back(good.substr(0, size))) << size;
  }
  EXPECT_FALSE(read_back(good + "\2"));
  EXPECT_FALSE(read_back("\5" + good));
  const auto copy = [&](const char* of) {
    std::string said = good.substr(0, good.size() - 1) + "\4";
    put_sized(said, "copy.py");
    put_sized(said, of);
    return said + "\2";
  };
  ASSERT_TRUE(read_back(copy("app.py")));
  EXPECT_EQ(read_back(copy("app.py"))->files().at(1).content, "abc");
  EXPECT_FALSE(read_back(copy("copy.py")));
  std::string huge(1, '\1');
  put_sized(huge, "app.py");
  put(huge, ~std::uint64_t{0});
  EXPECT_FALSE(read_back(huge + "abc\2"));
  std::string error("\3\xff", 2);
  put_sized(error, "\xff what");
  EXPECT_EQ(read_back(error).error(), (Error{Code::invalid_argument, "\xEF\xBF\xBD what"}));
}

TEST(TemporaryFolders, AreOfOneUserAndGoWithWhatIsInThem) {
  fs::path path;
  {
    TemporaryFolder first = *TemporaryFolder::make();
    const TemporaryFolder folder = std::move(first);
    path = folder.path();
    struct stat status;
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0700u);
    fs::create_directories(path / "x/y");
    std::ofstream(path / "x/y/z") << "z";
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace dormouse::control
