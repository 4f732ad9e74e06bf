#include "runtimes/snapshot/format.h"

#include <sys/mman.h>

#include <algorithm>

namespace dormouse::snapshot {
namespace {

// Cuts a table of `count` off the front of what is left; empty with `good` false if it is shorter.
class Cutter {
 public:
  explicit Cutter(Bytes left) : left_(left) {}

  template <class Element>
  std::span<const Element> take(std::uint64_t count) {
    if (count > left_.size() / sizeof(Element)) {
      good_ = false;
      return {};
    }
    const auto* first = reinterpret_cast<const Element*>(left_.data());
    left_ = left_.subspan(count * sizeof(Element));
    return {first, count};
  }
  std::string_view take_text(std::uint64_t bytes) {
    const auto text = take<char>(bytes);
    return {text.data(), text.size()};
  }
  bool good() const { return good_; }

 private:
  Bytes left_;
  bool good_ = true;
};

constexpr std::uint64_t addresses = std::uint64_t{1} << 47;

bool is_whole(std::uint64_t begin, std::uint64_t end) {
  return begin % page == 0 && end % page == 0 && begin < end && end < addresses;
}

bool is_good(const Snapshot& it, const Region& region) {
  const bool has_file = region.kind == Kind::private_file || region.kind == Kind::shared_file;
  return is_whole(region.begin, region.end) && region.kind <= Kind::kernels && region.access < 8 &&
         region.offset % page == 0 &&
         (region.advice == 0 || region.advice == MADV_HUGEPAGE ||
          region.advice == MADV_NOHUGEPAGE) &&
         (!has_file || region.file < it.files.size());
}

bool is_good(const Snapshot& it, const Run& run, std::uint64_t file_bytes) {
  if (run.region >= it.regions.size() || run.bytes >= addresses || run.begin >= addresses) {
    return false;
  }
  const Region& region = it.regions[run.region];
  return is_whole(run.begin, run.begin + run.bytes) && run.begin >= region.begin &&
         run.begin + run.bytes <= region.end && run.at % page == 0 &&
         run.at >= it.header->contents && run.at <= file_bytes && run.bytes <= file_bytes - run.at;
}

}  // namespace

std::string_view Snapshot::name(const File& file) const {
  return names.substr(file.name).data();  // Each ends with a NUL, as do all of them together.
}

Result<Snapshot> read(Bytes tables, std::uint64_t file_bytes) {
  const Error broken{Code::invalid_argument, "this is no snapshot"};
  if (reinterpret_cast<std::uintptr_t>(tables.data()) % alignof(Header) != 0) return broken;
  Cutter cutter(tables);
  const auto header = cutter.take<Header>(1);
  if (header.empty() || header.front().magic != magic) return broken;
  Snapshot it{.header = &header.front()};
  it.files = cutter.take<File>(it.header->files);
  it.regions = cutter.take<Region>(it.header->regions);
  it.runs = cutter.take<Run>(it.header->runs);
  it.key = cutter.take_text(it.header->key_bytes);
  it.names = cutter.take_text(it.header->name_bytes);
  const bool ends = it.names.empty() || it.names.back() == '\0';
  const bool good =
      cutter.good() && ends &&
      std::ranges::all_of(it.files,
                          [&](const File& each) { return each.name < it.names.size(); }) &&
      std::ranges::all_of(it.regions, [&](const Region& each) { return is_good(it, each); }) &&
      std::ranges::all_of(it.runs,
                          [&](const Run& each) { return is_good(it, each, file_bytes); }) &&
      std::ranges::is_sorted(it.regions, {}, &Region::begin) &&
      std::ranges::is_sorted(it.runs, {}, &Run::region);
  if (!good) return broken;
  return it;
}

}  // namespace dormouse::snapshot
