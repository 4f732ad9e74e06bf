// Which states there are, and which of them have to go when there are too many: the oldest used.
// Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace dormouse::conversations {

struct Revision {
  std::string tenant, function, digest;  // The digest in hex.
  friend auto operator<=>(const Revision&, const Revision&) = default;
};

struct Key {
  Revision revision;
  std::string name;
  friend auto operator<=>(const Key&, const Key&) = default;
};

struct Entry {
  Key key;
  std::uint64_t bytes = 0;
  WallTime used;
  std::uint64_t turn = 0;  // Of all that were used, the so-manieth.
};

class Shelf {
 public:
  Shelf(std::uint64_t bytes_max, std::size_t count_max)
      : bytes_max_(bytes_max), count_max_(count_max) {}

  const Entry* find(const Key&) const;
  void put(const Key&, std::uint64_t bytes, WallTime now);  // In the place of what was there.
  void touch(const Key&, WallTime now);
  bool erase(const Key&);

  // Takes away what has to go so that `bytes` of this one, in the place of what it has, are within
  // bounds.
  std::vector<Key> make_room(const Key&, std::uint64_t bytes);

  std::vector<Entry> all() const;
  std::vector<Entry> of(std::string_view tenant, std::string_view function) const;
  std::uint64_t bytes() const { return bytes_; }
  std::size_t count() const { return entries_.size(); }

 private:
  const std::uint64_t bytes_max_;
  const std::size_t count_max_;
  std::map<Key, Entry> entries_;
  std::map<std::uint64_t, Key> by_turn_;
  std::uint64_t turns_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace dormouse::conversations
