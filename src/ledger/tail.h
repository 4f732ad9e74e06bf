// The newest batches of the log, before they are in its last segment: in a file of the folder that
// is mapped. To add one is a copy in memory, where a write to a file costs a microsecond or two;
// the kernel has the file's pages, so they outlive this process as what was written does. Nothing
// of them is synced: within 25 ms they are written to the segment, and that is.
//
// Threads  One.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ledger/file.h"

namespace dormouse::ledger {

inline constexpr std::size_t tail_bytes_max = std::size_t{1} << 20;

class Tail {
 public:
  // What there is of one: bytes that follow the first `offset` of a segment. Those may be in it by
  // now, all or some.
  struct Left {
    std::uint32_t segment = 0;
    std::uint64_t offset = 0;
    std::string bytes;
  };
  // Without any bytes if there is none, or none that can be read.
  static Left left_in(const std::filesystem::path& folder);
  static void remove_from(const std::filesystem::path& folder);

  // Holds nothing of a segment until it begins. nullptr where a mapped page that is written to
  // might find no room, which would end this process: of file systems, ext4 and tmpfs are known to
  // keep the room that a file has. Others share it with the file's copies.
  static std::unique_ptr<Tail> make_in(const std::filesystem::path& folder);
  ~Tail();
  Tail(const Tail&) = delete;
  Tail& operator=(const Tail&) = delete;

  // It is of what follows the first `offset` bytes of the segment, and of that it has nothing.
  void begin(std::uint32_t segment, std::uint64_t offset);
  bool has_room_for(std::size_t bytes) const;
  void add(std::string_view batch);  // There is room for it.

  std::uint64_t offset() const;
  std::string_view bytes() const;
  const std::shared_ptr<File>& file() const { return file_; }  // To be synced.

 private:
  struct Page;

  Tail(std::shared_ptr<File>, void* mapped);

  const std::shared_ptr<File> file_;
  Page* const page_;
};

}  // namespace dormouse::ledger
