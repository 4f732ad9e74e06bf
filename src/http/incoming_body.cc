#include "http/incoming_body.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace dormouse::http {
namespace {

// One receive fills at most this much, so that other connections have their turn.
constexpr std::uint64_t room_bytes_max = 512 * 1024;
constexpr std::uint64_t file_step_bytes = 1024 * 1024;

}  // namespace

IncomingBody::IncomingBody(std::shared_ptr<BodyBudget> budget, std::uint64_t bytes_expected,
                           std::uint64_t inline_bytes_max, std::uint64_t bytes_max)
    : share_(std::move(budget)),
      bytes_expected_(bytes_expected),
      inline_bytes_max_(inline_bytes_max),
      bytes_max_(bytes_expected > 0 ? bytes_expected : bytes_max) {
  if (bytes_expected_ <= inline_bytes_max_) text_.resize(bytes_expected_);
}

IncomingBody::~IncomingBody() {
  if (mapping_ != nullptr) munmap(mapping_, bytes_mapped_);
  if (memfd_ >= 0) close(memfd_);
}

Result<std::span<char>> IncomingBody::room(std::uint64_t wanted) {
  wanted = std::min({wanted, room_bytes_max, bytes_max_ - size_});
  CHECK(wanted > 0);
  const bool fits_inline =
      size_ + wanted <= inline_bytes_max_ && bytes_expected_ <= inline_bytes_max_;
  if (memfd_ < 0 && fits_inline) {
    if (text_.size() < size_ + wanted) text_.resize(size_ + wanted);
    return std::span(text_.data() + size_, wanted);
  }
  if (!share_.grow_to(size_ + wanted)) {
    return Error{Code::overloaded, "too many large bodies at once"};
  }
  if (memfd_ < 0) {
    if (auto moved = move_to_memfd(); !moved) return std::move(moved).error();
  }
  if (auto grown = grow_file(begin_ + size_ + wanted); !grown) {
    return std::move(grown).error();
  }
  return std::span(mapping_ + begin_ + size_, wanted);
}

Result<> IncomingBody::move_to_memfd() {
  memfd_ = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memfd_ < 0) return system_error(Code::unavailable, "a file for a body");
  // More of a file may be mapped than it has: so the mapping never moves while the file grows.
  void* const mapping = mmap(nullptr, begin_ + bytes_max_, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_NORESERVE, memfd_, 0);
  if (mapping == MAP_FAILED) return system_error(Code::unavailable, "mapping a body");
  mapping_ = static_cast<char*>(mapping);
  bytes_mapped_ = begin_ + bytes_max_;
  if (size_ == 0) return ok;
  if (auto grown = grow_file(begin_ + size_); !grown) return grown;
  std::memcpy(mapping_ + begin_, text_.data(), size_);
  text_ = {};
  return ok;
}

Result<> IncomingBody::grow_file(std::uint64_t size_min) {
  if (file_size_ >= size_min) return ok;
  const std::uint64_t step = std::max(file_size_ * 2, file_step_bytes);
  const std::uint64_t size = bytes_expected_ > 0
                                 ? begin_ + bytes_expected_
                                 : std::min(std::max(size_min, step), begin_ + bytes_max_);
  if (ftruncate(memfd_, static_cast<off_t>(size)) != 0) {
    return system_error(Code::unavailable, "growing a body");
  }
  file_size_ = size;
  return ok;
}

Result<Body> IncomingBody::finish() {
  if (memfd_ < 0) {
    text_.resize(size_);
    return Body(std::move(text_));
  }
  munmap(mapping_, bytes_mapped_);
  mapping_ = nullptr;
  const std::uint64_t end = begin_ + size_;
  if (file_size_ != end && ftruncate(memfd_, static_cast<off_t>(end)) != 0) {
    return system_error(Code::unavailable, "cutting a body");
  }
  // Not F_SEAL_WRITE: before Linux 6.7 such a file cannot be mapped MAP_SHARED, even to read.
  constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
  if (fcntl(memfd_, F_ADD_SEALS, seals) != 0) {
    return system_error(Code::unavailable, "sealing a body");
  }
  return Body(std::exchange(memfd_, -1), begin_, size_, std::move(share_));
}

}  // namespace dormouse::http
