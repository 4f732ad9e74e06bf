// Any bytes as a zip: an Error, or plain files and folders that keep within the limits.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "base/check.h"
#include "control/archive.h"

namespace {

namespace fs = std::filesystem;
using dormouse::control::ArchiveLimits;

void check_what_is_in(const fs::path& folder, const ArchiveLimits& limits) {
  std::size_t entries = 0;
  std::uint64_t bytes = 0;
  std::set<ino_t> seen;  // A file that a link stands for is there twice.
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    CHECK(!entry.is_symlink() && (entry.is_regular_file() || entry.is_directory()));
    struct stat facts{};
    CHECK(::lstat(entry.path().c_str(), &facts) == 0);
    if (entry.is_regular_file() && seen.insert(facts.st_ino).second) bytes += entry.file_size();
    ++entries;
  }
  CHECK(entries <= limits.entries_max);
  CHECK(bytes <= limits.bytes_max);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace dormouse::control;
  constexpr ArchiveLimits limits{.entries_max = 20, .bytes_max = 100'000};
  static const TemporaryFolder around = *TemporaryFolder::make();
  const int zip = ::memfd_create("zip", MFD_CLOEXEC);
  CHECK(zip >= 0 && ::write(zip, bytes, size) == static_cast<::ssize_t>(size));
  const fs::path into = around.path() / "a" / "into";
  fs::create_directories(into);
  (void)unpack_zip("/proc/self/fd/" + std::to_string(zip), into, limits).has_value();
  ::close(zip);
  check_what_is_in(into, limits);
  fs::remove_all(into);
  CHECK(fs::is_empty(around.path() / "a"));
  return 0;
}
