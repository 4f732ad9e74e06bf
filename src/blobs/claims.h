// Who counts on a blob that no revision names yet, so that it is not discarded, and what is being
// discarded, which nobody can count on any more. One executor: between two of its turns a blob is
// claimed, or going, or neither.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>

#include "base/digest.h"
#include "base/time.h"

namespace dormouse::blobs {

class Claims {
 public:
  static constexpr std::chrono::hours hold{24};

  void add(const Digest& digest) {
    Claim& claim = claims_[digest];
    ++claim.count;
    claim.at = Clock::now();
  }
  void settle(const std::set<Digest>& digests, std::uint32_t least) {
    for (const Digest& digest : digests) {
      const auto found = claims_.find(digest);
      if (found == claims_.end() || found->second.count <= least) continue;
      if (--found->second.count == 0) claims_.erase(found);
    }
  }
  bool is_going(const Digest& digest) const { return going_.contains(digest); }

  // Those of which nobody claims anything: they are going, until gone().
  std::set<Digest> let_go(std::set<Digest> digests) {
    std::erase_if(claims_, [](const auto& each) { return each.second.at <= Clock::now() - hold; });
    std::erase_if(digests, [&](const Digest& each) {
      return claims_.contains(each) || going_.contains(each);
    });
    going_.insert(digests.begin(), digests.end());
    return digests;
  }
  void gone(const std::set<Digest>& digests) {
    for (const Digest& each : digests) going_.erase(each);
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Claim {
    std::uint32_t count = 0;
    Clock::time_point at;
  };

  std::map<Digest, Claim> claims_;  // Of blobs that are here: as many as there are.
  std::set<Digest> going_;
};

}  // namespace dormouse::blobs
