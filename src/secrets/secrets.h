// Secrets: values by name that functions are given, and that nobody is ever shown.
//
// In the store each lies sealed (seal.h) under a master key, with its name, version and time as
// associated bytes: a record that was changed, or put in another's place, does not open. The key
// lies in a file of its own. Format: docs/formats/secrets.md.
//
// Threads    One executor. A change is durable before it is seen.
// Cancelling set() and remove() must not be cancelled: the store would know what this does not.
// Errors     open(): conflict if the master key is missing or another one; nothing is changed.
//            read(): not_found; unavailable if the record was damaged.
//            set(): invalid_argument; unavailable from the store.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "base/result.h"
#include "store/store.h"

namespace dormouse::secrets {

inline constexpr std::size_t name_bytes_max = 64;
// As of any environment variable of a function: they all have to fit a frame to the worker.
inline constexpr std::size_t value_bytes_max = 32 * 1024;

// Letters, digits, "_", "." and "-", beginning with a letter or "_".
bool is_name(std::string_view);

struct Fact {  // All that is told of a secret.
  std::string name;
  std::int64_t version = 0;  // From 1; every set() is a new one.
  WallTime set_at;
};

class Secrets {
 public:
  virtual ~Secrets() = default;
  virtual std::vector<Fact> list() const = 0;  // By name.
  virtual bool contains(std::string_view name) const = 0;
  virtual Result<std::string> read(std::string_view name) const = 0;
  // Of at least 1 byte, at most value_bytes_max, none of them NUL.
  virtual asio::awaitable<Result<Fact>> set(std::string name, std::string value, WallTime now) = 0;
  virtual asio::awaitable<Result<>> remove(std::string name) = 0;
};

std::span<const store::Migration> migrations();

// Makes the key file if nothing was sealed yet and there is none.
Result<std::unique_ptr<Secrets>> open(store::Store*, const std::filesystem::path& key_file);

}  // namespace dormouse::secrets
