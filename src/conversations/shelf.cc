#include "conversations/shelf.h"

namespace dormouse::conversations {

const Entry* Shelf::find(const Key& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

void Shelf::put(const Key& key, std::uint64_t bytes, WallTime now) {
  erase(key);
  entries_[key] = {key, bytes, now, ++turns_};
  by_turn_[turns_] = key;
  bytes_ += bytes;
}

void Shelf::touch(const Key& key, WallTime now) {
  if (const Entry* const entry = find(key)) put(key, entry->bytes, now);
}

bool Shelf::erase(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  bytes_ -= found->second.bytes;
  by_turn_.erase(found->second.turn);
  entries_.erase(found);
  return true;
}

std::vector<Key> Shelf::make_room(const Key& key, std::uint64_t bytes) {
  erase(key);
  std::vector<Key> gone;
  while (!by_turn_.empty() && (bytes_ + bytes > bytes_max_ || entries_.size() + 1 > count_max_)) {
    gone.push_back(by_turn_.begin()->second);
    erase(gone.back());
  }
  return gone;
}

std::vector<Entry> Shelf::all() const {
  std::vector<Entry> found;
  for (const auto& [_, entry] : entries_) found.push_back(entry);
  return found;
}

std::vector<Entry> Shelf::of(std::string_view tenant, std::string_view function) const {
  std::vector<Entry> found;
  const Key first{{std::string(tenant), std::string(function), ""}, ""};
  for (auto it = entries_.lower_bound(first); it != entries_.end(); ++it) {
    const Revision& revision = it->first.revision;
    if (revision.tenant != tenant || revision.function != function) break;
    found.push_back(it->second);
  }
  return found;
}

}  // namespace dormouse::conversations
