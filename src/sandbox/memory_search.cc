#include "sandbox/memory_search.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "sandbox/mappings.h"
#include "wire/socket.h"

namespace dormouse::sandbox {
namespace {

constexpr std::uint64_t searched_max = std::uint64_t{64} << 30;
constexpr std::size_t piece_bytes = 1 << 20;

struct Range {
  std::uint64_t begin, end;
};

std::vector<Range> ranges_of(const std::string& process) {
  constexpr std::size_t all = SIZE_MAX;  // The kernel bounds them: vm.max_map_count.
  constexpr std::string_view kernels[] = {"[vvar]", "[vvar_vclock]", "[vsyscall]"};
  std::vector<Range> found;
  for (const Mapping& each : mappings_of(process, all)) {
    const bool is_only_read = each.is_of_file && !each.access.contains('w');
    const bool is_kernels = std::ranges::find(kernels, each.file) != std::end(kernels);
    if (each.access.starts_with('r') && !is_only_read && !is_kernels) {
      found.push_back({each.begin, each.end});
    }
  }
  return found;
}

// Keeps the end of each piece, so that a value that lies across two is found.
class Finder {
 public:
  explicit Finder(std::span<const std::string> values) : values_(values) {
    for (const std::string& each : values) overlap_ = std::max(overlap_, each.size());
  }
  void begin_anew() { text_.clear(); }
  void add(std::string_view piece) {
    text_.append(piece);
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const bool is_known = std::ranges::find(found_, i) != found_.end();
      const std::string& value = values_[i];
      if (is_known || value.empty()) continue;
      if (memmem(text_.data(), text_.size(), value.data(), value.size()) != nullptr) {
        found_.push_back(i);
      }
    }
    text_.erase(0, text_.size() - std::min(text_.size(), overlap_));
  }
  std::vector<std::size_t> take() { return std::move(found_); }

 private:
  std::span<const std::string> values_;
  std::size_t overlap_ = 0;
  std::string text_;
  std::vector<std::size_t> found_;
};

// The pages of a range that there are, as pagemap has them (Documentation/admin-guide/mm/pagemap):
// reading the others would make them.
class Present {
 public:
  explicit Present(const std::string& process)
      : file_(open((process + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC)) {}

  // The first run of pages from `at` on within `range`; none at its end.
  Range next_run(std::uint64_t at, const Range& range) {
    while (at < range.end && !has(at, range)) at += page_bytes_;
    Range run{at, at};
    while (run.end < range.end && run.end - at < piece_bytes && has(run.end, range)) {
      run.end += page_bytes_;
    }
    return run;
  }

 private:
  bool has(std::uint64_t at, const Range& range) {
    if (at < first_ || at >= first_ + known_.size() * page_bytes_) read_from(at, range);
    constexpr std::uint64_t present = std::uint64_t{1} << 63, swapped = std::uint64_t{1} << 62;
    const std::size_t place = (at - first_) / page_bytes_;
    return place < known_.size() && (known_[place] & (present | swapped)) != 0;
  }
  void read_from(std::uint64_t at, const Range& range) {
    constexpr std::uint64_t entries_max = 32 << 10;
    first_ = at;
    known_.resize(std::min(entries_max, (range.end - at) / page_bytes_));
    const auto place = static_cast<off_t>(at / page_bytes_ * sizeof(std::uint64_t));
    const ssize_t got =
        pread(file_.number(), known_.data(), known_.size() * sizeof(std::uint64_t), place);
    const std::size_t read = got > 0 ? static_cast<std::size_t>(got) / sizeof(std::uint64_t) : 0;
    std::fill(known_.begin() + static_cast<std::ptrdiff_t>(read), known_.end(), 0);
  }

  wire::Descriptor file_;
  const std::uint64_t page_bytes_ = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  std::uint64_t first_ = 0;
  std::vector<std::uint64_t> known_;
};

}  // namespace

Result<std::vector<std::size_t>> values_in_memory(pid_t pid, std::span<const std::string> values) {
  const std::string process = "/proc/" + std::to_string(pid);
  const wire::Descriptor memory(open((process + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  const std::vector<Range> ranges = ranges_of(process);
  if (!memory || ranges.empty()) return Error{Code::not_found, "it has ended"};
  std::uint64_t all = 0;
  for (const Range& each : ranges) all += each.end - each.begin;
  if (all > searched_max) {
    return Error{Code::unsupported,
                 "it has reserved " + std::to_string(all >> 30) + " GiB of addresses"};
  }
  Finder finder(values);
  Present present(process);
  std::string piece(piece_bytes, '\0');
  for (const Range& each : ranges) {
    std::uint64_t ended = 0;
    for (auto run = present.next_run(each.begin, each); run.begin < run.end;
         run = present.next_run(run.end, each)) {
      if (run.begin != ended) finder.begin_anew();
      ended = run.end;
      const ssize_t got =
          pread(memory.number(), piece.data(), run.end - run.begin, static_cast<off_t>(run.begin));
      if (got > 0) finder.add(std::string_view(piece).substr(0, static_cast<std::size_t>(got)));
    }
  }
  return finder.take();
}

}  // namespace dormouse::sandbox
