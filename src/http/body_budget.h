// What the bodies of requests and answers take in files, all of them together: at most so many
// bytes. A body has a share, as large as what has been received of it, and gives it back when it
// dies; an answer, while it is sent.
//
// Threads    Any: a body may die on another one than it was received on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace dormouse::http {

class BodyBudget {
 public:
  explicit BodyBudget(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}
  std::uint64_t bytes_taken() const { return taken_; }

 private:
  friend class BodyShare;
  // False, and nothing is taken: there is not so much left.
  bool take(std::uint64_t bytes) {
    if (taken_.fetch_add(bytes) + bytes <= bytes_max_) return true;
    taken_ -= bytes;
    return false;
  }

  const std::uint64_t bytes_max_;
  std::atomic<std::uint64_t> taken_ = 0;
};

class BodyShare {
 public:
  BodyShare() = default;  // Of nothing: it does not grow.
  explicit BodyShare(std::shared_ptr<BodyBudget> of) : budget_(std::move(of)) {}
  BodyShare(BodyShare&& other) noexcept
      : budget_(std::move(other.budget_)), bytes_(std::exchange(other.bytes_, 0)) {}
  BodyShare& operator=(BodyShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~BodyShare() {
    if (budget_) budget_->taken_ -= bytes_;
  }

  bool is_empty() const { return bytes_ == 0; }
  // False, and it stays as it is: there is not so much left.
  bool grow_to(std::uint64_t bytes) {
    if (bytes <= bytes_) return true;
    if (!budget_ || !budget_->take(bytes - bytes_)) return false;
    bytes_ = bytes;
    return true;
  }

 private:
  std::shared_ptr<BodyBudget> budget_;
  std::uint64_t bytes_ = 0;
};

}  // namespace dormouse::http
