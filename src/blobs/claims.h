// Who counts on a blob that no revision names yet, so that it is not discarded. By anyone, on any
// thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>

#include "base/digest.h"
#include "base/time.h"

namespace dormouse::blobs {

class Claims {
 public:
  // One moment for who claims and who discards: either the claim finds the blob and it stays, or
  // it finds nothing.
  std::unique_lock<std::mutex> lock() const { return std::unique_lock(mutex_); }

  // These with the lock held.
  void add(const Digest& digest) {
    Claim& claim = claims_[digest];
    ++claim.count;
    claim.last = ++now_;
    claim.at = Clock::now();
  }
  // Whether anybody counts on it, or has claimed it since `moment`.
  bool any(const Digest& digest, std::uint64_t moment, Duration stale) const {
    const auto found = claims_.find(digest);
    if (found == claims_.end()) return false;
    return found->second.last > moment ||
           (found->second.count > 0 && found->second.at > Clock::now() - stale);
  }

  void settle(const std::set<Digest>& digests, std::uint32_t least) {
    const auto locked = lock();
    for (const Digest& digest : digests) {
      const auto found = claims_.find(digest);
      if (found != claims_.end() && found->second.count > least) --found->second.count;
    }
  }
  std::uint64_t moment() const {
    const auto locked = lock();
    return now_;
  }
  // Forgets those that nothing depends on any more.
  void forget(Duration stale) {
    const auto locked = lock();
    std::erase_if(claims_,
                  [&](const auto& each) { return each.second.at <= Clock::now() - stale; });
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Claim {
    std::uint32_t count = 0;
    std::uint64_t last = 0;  // When it was last claimed, in claims.
    Clock::time_point at;
  };

  mutable std::mutex mutex_;
  std::map<Digest, Claim> claims_;  // Of blobs that were here: as many as there are.
  std::uint64_t now_ = 0;
};

}  // namespace dormouse::blobs
