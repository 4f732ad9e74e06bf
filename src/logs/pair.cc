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

void decode_all(std::string_view text, std::vector<Line>& lines, std::size_t lines_max) {
  while (!text.empty() && lines.size() < lines_max) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) return;
    if (auto line = decode(text.substr(0, end))) lines.push_back(*std::move(line));
    text.remove_prefix(end + 1);
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
  std::vector<Line> lines;
  decode_all(mapped.text().substr(begin_of_last(mapped.text(), 1)), lines, 1);
  return lines.empty() ? 0 : lines.front().sequence;
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

Result<std::vector<Line>> Pair::read(std::uint64_t sequence, std::size_t lines_max) const {
  const Mapped old_file(older()), new_file(newer());
  std::string_view first = old_file.text(), second = new_file.text();
  if (sequence > 0) {
    first.remove_prefix(begin_after(first, sequence));
    second.remove_prefix(begin_after(second, sequence));
  } else {
    second.remove_prefix(begin_of_last(second, lines_max));
    const auto in_second = static_cast<std::size_t>(std::ranges::count(second, '\n'));
    first.remove_prefix(begin_of_last(first, lines_max - std::min(lines_max, in_second)));
  }
  std::vector<Line> lines;
  decode_all(first, lines, lines_max);
  decode_all(second, lines, lines_max);
  return lines;
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
