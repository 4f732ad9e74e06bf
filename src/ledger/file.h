// A segment's file, and the folder they are in. For ledger's own .cc files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dormouse::ledger {

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // One write at the end, which is at `size`; if it does not go in whole, it is taken back.
  Result<> append(std::string_view bytes, std::uint64_t size) const;
  Result<> truncate(std::uint64_t size) const;
  Result<> sync() const;

 private:
  int descriptor_;
};

Result<std::shared_ptr<File>> open_to_append(const std::filesystem::path& file);
Result<> sync_folder(const std::filesystem::path& folder);
Result<std::string> read_range(const std::filesystem::path& file, std::uint64_t from,
                               std::uint64_t to);
Result<std::string> read_whole(const std::filesystem::path& file);

// "00000007-1700000000000.ledger": the segment's number, and when it was created.
struct Named {
  std::uint32_t number;
  std::int64_t created_ms;
  std::filesystem::path path;
};
std::filesystem::path path_of(const std::filesystem::path& dir, std::uint32_t number,
                              std::int64_t created_ms);
Result<std::vector<Named>> segments_in(const std::filesystem::path& dir);  // By number.

}  // namespace dormouse::ledger
