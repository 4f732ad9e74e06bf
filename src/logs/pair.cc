#include "logs/pair.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "logs/line.h"

namespace dormouse::logs {
namespace {

constexpr std::string_view new_suffix = ".new.log";
constexpr std::string_view old_suffix = ".old.log";

// A file mapped for reading; empty if it is not there. Log files grow or go, but do not shrink.
class Mapped {
 public:
  explicit Mapped(const std::filesystem::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0) return;
    struct stat found{};
    if (::fstat(descriptor, &found) == 0 && found.st_size > 0) map(descriptor, found.st_size);
    ::close(descriptor);
  }
  ~Mapped() {
    if (start_) ::munmap(start_, size_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  std::string_view text() const { return {static_cast<const char*>(start_), size_}; }

 private:
  void map(int descriptor, off_t size) {
    void* start =
        ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED, descriptor, 0);
    if (start == MAP_FAILED) return;
    start_ = start;
    size_ = static_cast<std::size_t>(size);
  }
  void* start_ = nullptr;
  std::size_t size_ = 0;
};

// All that are wanted of these lines; with `after`, up to lines_max in the end.
void collect(std::string_view text, const Wanted& wanted, Part& part) {
  const bool only_last = wanted.after == 0;
  while (only_last || part.lines.size() < wanted.lines_max) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) return;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    part.until = sequence_of(line).value_or(part.until);
    if (!line.contains(wanted.invocation)) continue;  // Most are not decoded.
    auto decoded = decode(line);
    const bool is_its =
        decoded && (wanted.invocation.empty() || decoded->invocation == wanted.invocation);
    if (is_its) part.lines.push_back(*std::move(decoded));
  }
}

// How many bytes of lines there are in the first `bytes_max` of them.
std::size_t whole_lines(std::string_view lines, std::uint64_t bytes_max) {
  if (lines.size() <= bytes_max) return lines.size();
  return lines.substr(0, bytes_max).rfind('\n') + 1;  // npos + 1 is 0.
}

void cut_torn_end(const std::filesystem::path& file) {
  std::size_t size = 0, good = 0;
  {
    const Mapped mapped(file);
    size = mapped.text().size();
    good = mapped.text().rfind('\n') + 1;  // npos + 1 is 0.
  }
  std::error_code failed;
  if (good < size) std::filesystem::resize_file(file, good, failed);
}

std::uint64_t last_in(const std::filesystem::path& file) {
  const Mapped mapped(file);
  return sequence_of(mapped.text().substr(begin_of_last(mapped.text(), 1))).value_or(0);
}

}  // namespace

Pair::Pair(std::filesystem::path dir, std::string name, std::uint64_t file_bytes_max)
    : dir_(std::move(dir)), name_(std::move(name)), file_bytes_max_(file_bytes_max) {
}

Pair::Pair(Pair&& other) noexcept
    : dir_(std::move(other.dir_)),
      name_(std::move(other.name_)),
      file_bytes_max_(other.file_bytes_max_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {
}

Pair::~Pair() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool Pair::open_newer() {
  if (descriptor_ >= 0) return true;
  descriptor_ =
      ::open(newer().c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  struct stat found{};
  if (descriptor_ < 0 || ::fstat(descriptor_, &found) != 0) return false;
  size_ = static_cast<std::uint64_t>(found.st_size);
  return true;
}

void Pair::turn() {
  ::close(std::exchange(descriptor_, -1));
  ::rename(newer().c_str(), older().c_str());
}

void Pair::append(std::string_view lines) {
  while (!lines.empty()) {
    if (!open_newer()) return;
    std::size_t fit = whole_lines(lines, file_bytes_max_ - std::min(size_, file_bytes_max_));
    if (fit == 0 && size_ > 0) {
      turn();
      continue;
    }
    if (fit == 0) fit = lines.find('\n') + 1;
    if (!write(lines.substr(0, fit))) return;
    lines.remove_prefix(fit);
  }
}

bool Pair::write(std::string_view lines) {
  const ssize_t wrote = ::write(descriptor_, lines.data(), lines.size());
  if (wrote == static_cast<ssize_t>(lines.size())) {
    size_ += lines.size();
    return true;
  }
  // Half a line would spoil the next one.
  if (::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) turn();
  return false;
}

Part Pair::read(const Wanted& wanted) const {
  const Mapped old_file(older()), new_file(newer());
  std::string_view first = old_file.text(), second = new_file.text();
  if (wanted.after > 0) {
    first.remove_prefix(begin_after(first, wanted.after));
    second.remove_prefix(begin_after(second, wanted.after));
  } else if (wanted.invocation.empty()) {
    second.remove_prefix(begin_of_last(second, wanted.lines_max));
    const auto in_second = static_cast<std::size_t>(std::ranges::count(second, '\n'));
    const std::size_t more = wanted.lines_max - std::min(wanted.lines_max, in_second);
    first.remove_prefix(begin_of_last(first, more));
  }
  Part part{.lines = {}, .until = wanted.after};
  collect(first, wanted, part);
  collect(second, wanted, part);
  if (part.lines.size() > wanted.lines_max) {
    const auto beyond = static_cast<std::ptrdiff_t>(part.lines.size() - wanted.lines_max);
    part.lines.erase(part.lines.begin(), part.lines.begin() + beyond);
  }
  return part;
}

void Pair::remove() {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  ::unlink(older().c_str());
  ::unlink(newer().c_str());
}

Result<std::vector<Known>> known_in(const std::filesystem::path& dir) {
  std::map<std::string, std::uint64_t> last;
  std::error_code failed;
  std::filesystem::directory_iterator at(dir, failed), end;
  for (; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (!name.ends_with(new_suffix) && !name.ends_with(old_suffix)) continue;
    cut_torn_end(at->path());
    std::uint64_t& known = last[name.substr(0, name.size() - new_suffix.size())];
    known = std::max(known, last_in(at->path()));
  }
  if (failed) return system_error(Code::unavailable, "reading " + dir.string(), failed.value());
  std::vector<Known> all;
  for (auto& [name, number] : last) all.push_back({name, number});
  return all;
}

}  // namespace dormouse::logs
