#include "runtimes/snapshot/memory_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "wire/socket.h"

namespace dormouse::snapshot {
namespace {

// Shared, so that the kernel does not make it one mapping with what lies beside it. By number, as a
// program may have put an mmap() of its own in place of the C library's.
void* map_nothing(std::size_t bytes) {
  return reinterpret_cast<void*>(syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

// Up to `until`, and behind that.
std::string_view cut(std::string_view& text, char until) {
  const std::size_t at = std::min(text.find(until), text.size());
  const std::string_view word = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return word;
}

std::uint64_t number(std::string_view digits, int base) {
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  return value;
}

// As in proc(5): "7f00-7f10 r-xp 00000000 08:01 123   /usr/lib/libc.so.6".
Mapping read(std::string_view line) {
  Mapping it{};
  it.begin = number(cut(line, '-'), 16);
  it.end = number(cut(line, ' '), 16);
  const std::string_view may = cut(line, ' ');
  it.access = (may.contains('r') ? PROT_READ : 0u) | (may.contains('w') ? PROT_WRITE : 0u) |
              (may.contains('x') ? PROT_EXEC : 0u);
  it.is_shared = may.contains('s');
  it.offset = number(cut(line, ' '), 16);
  cut(line, ' ');  // The device.
  it.inode = number(cut(line, ' '), 10);
  it.name = line.substr(std::min(line.find_first_not_of(' '), line.size()));
  return it;
}

Result<std::string_view> text_of(const char* path, Room& room) {
  const wire::Descriptor file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return system_error(Code::unavailable, std::string("opening ") + path);
  const std::span<char> space = room.rest<char>();
  std::size_t size = 0;
  for (;;) {
    const ssize_t got = ::read(file.number(), space.data() + size, space.size() - size);
    if (got < 0) return system_error(Code::unavailable, std::string("reading ") + path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size == space.size()) return Error{Code::too_large, "its memory is in too many pieces"};
  return std::string_view(room.keep<char>(size).data(), size);
}

}  // namespace

Room::Room(std::size_t bytes) : bytes_(bytes) {
  void* const got = map_nothing(bytes);
  if (got != MAP_FAILED) begin_ = static_cast<std::byte*>(got);
}

Room::~Room() {
  if (begin_ != nullptr) munmap(begin_, bytes_);
}

Result<std::span<Mapping>> mappings_of_this(Room& room, With with) {
  const char* path = with == With::flags ? "/proc/self/smaps" : "/proc/self/maps";
  auto text = text_of(path, room);
  if (!text) return std::move(text).error();
  const std::span<Mapping> space = room.rest<Mapping>();
  constexpr std::string_view flags = "VmFlags: ";
  std::size_t count = 0;
  while (!text->empty()) {
    const std::string_view line = cut(*text, '\n');
    const bool is_more = line.front() >= 'A' && line.front() <= 'Z';  // Of the one before.
    if (is_more && line.starts_with(flags) && count > 0) {
      space[count - 1].flags = line.substr(flags.size());
    }
    if (is_more) continue;
    if (count == space.size()) return Error{Code::too_large, "its memory is in too many pieces"};
    space[count++] = read(line);
  }
  return room.keep<Mapping>(count);
}

}  // namespace dormouse::snapshot
