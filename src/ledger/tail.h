// The newest records of the log, before they are in its last segment: in a file of the folder that
// is mapped. To add some is a copy in memory, where a write to a file costs a microsecond or two,
// and a batch its hash; the kernel has the file's pages, so they outlive this process as what was
// written does. Nothing of them is synced: within 25 ms they are written to the segment, as one
// batch, and that is.
//
// Threads  One.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ledger/checksum.h"
#include "ledger/file.h"

namespace dormouse::ledger {

inline constexpr std::size_t tail_bytes_max = std::size_t{1} << 20;

class Tail {
 public:
  // Where its records are to be written: behind the first `offset` bytes of a segment, whose chain
  // is there.
  struct Place {
    std::uint32_t segment = 0;
    std::uint64_t offset = 0;
    Chain chain{};
  };
  // What there is of one. Its records may be in the segment by now, all or none.
  struct Left {
    Place place;
    std::string records;
  };
  // Without any records if there is none. unavailable: it is of another version, and not empty.
  static Result<Left> left_in(const std::filesystem::path& folder);
  static void remove_from(const std::filesystem::path& folder);

  // Holds nothing of a segment until it begins. nullptr where a mapped page that is written to
  // might find no room, which would end this process: of file systems, ext4 and tmpfs are known to
  // keep the room that a file has. Others share it with the file's copies.
  static std::unique_ptr<Tail> make_in(const std::filesystem::path& folder);
  ~Tail();
  Tail(const Tail&) = delete;
  Tail& operator=(const Tail&) = delete;

  void begin(const Place&);  // It has nothing then.
  bool has_room_for(std::string_view records) const;
  void add(std::string_view records);  // There is room for them.

  bool is_empty() const;
  std::string records() const;                                 // All of them.
  const std::shared_ptr<File>& file() const { return file_; }  // To be synced.

 private:
  struct Page;

  Tail(std::shared_ptr<File>, void* mapped);

  const std::shared_ptr<File> file_;
  Page* const page_;
  std::uint32_t seed_ = 0;
};

}  // namespace dormouse::ledger
