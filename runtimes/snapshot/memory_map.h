// What this process has in its memory, as the kernel tells it in /proc/self/maps and pagemap.
//
// Nothing here allocates: all of it goes to a Room, which is no part of what it describes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "runtimes/snapshot/format.h"

namespace dormouse::snapshot {

// Memory of its own, from which arrays are cut. Unmapped with it.
class Room {
 public:
  explicit Room(std::size_t bytes);
  ~Room();
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  bool is_there() const { return begin_ != nullptr; }
  std::uint64_t begin() const { return reinterpret_cast<std::uint64_t>(begin_); }

  // What is left, whole elements. Keeps the first `count` of them once it is known how many.
  template <class Element>
  std::span<Element> rest() {
    return {reinterpret_cast<Element*>(begin_ + taken_), (bytes_ - taken_) / sizeof(Element)};
  }
  template <class Element>
  std::span<Element> keep(std::size_t count) {
    const std::span<Element> kept = rest<Element>().first(count);
    taken_ += (count * sizeof(Element) + alignof(std::max_align_t) - 1) &
              ~(alignof(std::max_align_t) - 1);
    return kept;
  }

 private:
  std::byte* begin_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t taken_ = 0;
};

struct Mapping {
  std::uint64_t begin, end;
  std::uint32_t access;  // PROT_READ | …
  bool is_shared;
  std::uint64_t offset;
  std::uint64_t inode;     // 0: of no file.
  std::string_view name;   // A path, "[stack]", or "". It lies in the Room.
  std::string_view flags;  // As in smaps of proc(5), "rd wr mr mw me ac hg"; "" if not asked for.
};

// In order, the Room's own among them. unavailable if the kernel does not tell, too_large if the
// Room is too small. With flags it takes longer.
enum class With : std::uint8_t { nothing_more, flags };
Result<std::span<Mapping>> mappings_of_this(Room&, With = With::nothing_more);

}  // namespace dormouse::snapshot
