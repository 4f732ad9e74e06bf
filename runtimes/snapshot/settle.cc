#include "runtimes/snapshot/settle.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "runtimes/snapshot/memory_map.h"
#include "runtimes/snapshot/template.h"

namespace dormouse::snapshot {
namespace {

constexpr std::uint64_t huge = 2 << 20, piece_bytes = 4 << 20;

void* at(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

// As far into a huge page as `like`, so that whole ones are moved there.
class Copy {
 public:
  Copy(std::uint64_t like, std::uint64_t bytes) : bytes_(bytes), taken_bytes_(bytes + huge) {
    taken_ = syscall(SYS_mmap, nullptr, taken_bytes_, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const auto begin = static_cast<std::uint64_t>(taken_);
    begin_ = begin + ((like - begin) & (huge - 1));
    if (is_there()) (void)madvise(at(begin_), bytes, MADV_HUGEPAGE);  // A kernel may have none.
  }
  // Not what was moved away: by now that may be another thread's.
  ~Copy() {
    if (!is_there()) return;
    const auto first = static_cast<std::uint64_t>(taken_), end = first + taken_bytes_;
    if (!moved_) munmap(at(first), taken_bytes_);
    if (moved_ && begin_ > first) munmap(at(first), begin_ - first);
    if (moved_ && begin_ + bytes_ < end) munmap(at(begin_ + bytes_), end - begin_ - bytes_);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  bool is_there() const { return taken_ >= 0; }
  std::uint64_t begin() const { return begin_; }
  bool move_to(std::uint64_t place) {
    moved_ =
        mremap(at(begin_), bytes_, bytes_, MREMAP_MAYMOVE | MREMAP_FIXED, at(place)) != MAP_FAILED;
    return moved_;
  }

 private:
  bool moved_ = false;
  std::uint64_t bytes_, taken_bytes_;
  long taken_;
  std::uint64_t begin_ = 0;
};

struct Piece {
  std::uint64_t begin, end;
  std::uint32_t access;
};

// False: there is no memory for it; then it stays where it is.
bool bring_in(const Piece& piece) {
  const std::uint64_t bytes = piece.end - piece.begin;
  Copy copy(piece.begin, bytes);
  if (!copy.is_there()) return false;
  std::memcpy(at(copy.begin()), at(piece.begin), bytes);
  return mprotect(at(copy.begin()), bytes, static_cast<int>(piece.access)) == 0 &&
         copy.move_to(piece.begin);
}

constexpr std::size_t room_bytes = std::size_t{16} << 20;
constexpr unsigned helpers_max = 3;

// A virtual machine may have to be given memory first, at a tenth of the speed: then a call is not
// kept waiting for it.
constexpr auto patience = std::chrono::milliseconds(6);
constexpr std::uint64_t bytes_per_ns = 5;

}  // namespace

void read_ahead(const std::string& folder) {
  constexpr std::uint64_t large = 1 << 20;
  Room room(room_bytes);
  if (!room.is_there()) return;
  const auto mappings = mappings_of_this(room);
  if (!mappings) return;
  for (const Mapping& each : *mappings) {
    if (each.end - each.begin < large || !each.name.starts_with(folder + "/")) continue;
    (void)madvise(at(each.begin), each.end - each.begin, MADV_WILLNEED);
  }
}

// What is still the file's, each cut where huge pages begin. With flags: what the program advised
// to be in such.
std::vector<Piece> pieces(With with) {
  std::vector<Piece> found;
  Room room(room_bytes);
  const auto mappings = room.is_there() ? mappings_of_this(room, with) : std::span<Mapping>();
  if (!mappings) return found;
  const std::string suffix = "/.dormouse/" + std::string(file_name);
  for (const Mapping& each : *mappings) {
    if (!each.name.ends_with(suffix) || (each.access & PROT_READ) == 0) continue;
    if (with == With::flags && !each.flags.contains("hg")) continue;
    for (std::uint64_t begin = each.begin; begin < each.end;) {
      const std::uint64_t end = std::min(each.end, (begin + piece_bytes) & ~(huge - 1));
      found.push_back({begin, end, each.access});
      begin = end;
    }
  }
  return found;
}

void settle_large() {
  // Nobody who helps uses such memory itself: not for a stack, and not to allocate from.
  const std::vector<Piece> large = pieces(With::flags);
  std::atomic<std::size_t> next = 0;
  std::atomic<std::uint64_t> brought = 0;
  const auto began = std::chrono::steady_clock::now();
  const auto is_worth_it = [&] {
    const auto took = std::chrono::steady_clock::now() - began;
    return took < patience + std::chrono::nanoseconds(brought / bytes_per_ns);
  };
  const auto work = [&] {
    for (std::size_t i; is_worth_it() && (i = next++) < large.size();) {
      (void)bring_in(large[i]);
      brought += large[i].end - large[i].begin;
    }
  };
  std::vector<std::jthread> helpers;
  const unsigned others = std::thread::hardware_concurrency() - 1;
  try {
    while (helpers.size() < std::min(helpers_max, others)) helpers.emplace_back(work);
  } catch (const std::system_error&) {  // Then without.
  }
  work();
}

bool settle(const std::function<bool()>& goes_on) {
  for (const Piece& each : pieces(With::nothing_more)) {
    if (!goes_on()) return false;
    if (!bring_in(each)) return true;
  }
  return true;
}

}  // namespace dormouse::snapshot
