// The key file, read again when it changes: a new key opens the platform within a second or two,
// and one whose line is gone no longer does.
//
// A file that is gone, bad or without a key changes nothing but the log: it never means that nobody
// needs a key.
//
// Threads    One executor.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "async/clock.h"
#include "gateway/keys.h"

namespace dormouse::gateway {

class KeyFile {
 public:
  static constexpr Duration period = std::chrono::seconds(1);

  // Of that file; nobody needs a key if `path` is empty. Fails as Keys::read().
  Result<> open(std::string path);
  const Keys* keys() const { return &keys_; }  // The same for as long as this lives.

  void refresh();                                             // Reads it, if it changed.
  asio::awaitable<void> refresh_every_second(async::Clock*);  // Until cancelled.

 private:
  // What tells a file from what it was; none: it is not there.
  using Stamp = std::optional<std::tuple<std::uint64_t, std::int64_t, std::int64_t, std::int64_t>>;
  static Stamp stamp_of(const std::string& path);

  std::string path_;
  Stamp stamp_;
  Keys keys_;
};

}  // namespace dormouse::gateway
