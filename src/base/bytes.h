// Little-endian encoding into a string, and bounded decoding out of one. Decoding never reads past
// the end: a short input makes the Reader fail, once and for good, and every later read gives zero,
// so a decoder reads all its fields and then asks ok() once.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/check.h"

namespace dormouse {

static_assert(std::endian::native == std::endian::little, "formats are written as they lie");

using Bytes = std::span<const std::byte>;

inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

template <class T>
  requires std::is_arithmetic_v<T>
void put(std::string& out, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  out.append(raw, sizeof(T));
}

// What put() has written: numbers of at most `bytes_max` in all. It asks for no memory.
template <std::size_t bytes_max>
class Packed {
 public:
  operator std::string_view() const { return {raw_, size_}; }

  template <class T>
    requires std::is_arithmetic_v<T>
  friend void put(Packed& out, T value) {
    CHECK(out.size_ + sizeof(T) <= bytes_max);
    std::memcpy(out.raw_ + out.size_, &value, sizeof(T));
    out.size_ += sizeof(T);
  }

 private:
  char raw_[bytes_max];
  std::size_t size_ = 0;
};

// A 32-bit length, then the bytes.
inline void put_sized(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint32_t>(text.size()));
  out.append(text);
}

class Reader {
 public:
  explicit Reader(std::string_view input) : rest_(input) {}

  template <class T>
    requires std::is_arithmetic_v<T>
  T get() {
    T value{};
    const std::string_view raw = take(sizeof(T));
    if (raw.size() == sizeof(T)) std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  std::string_view take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view get_sized() { return take(get<std::uint32_t>()); }
  std::string_view rest() const { return rest_; }
  bool ok() const { return ok_; }
  bool complete() const { return ok_ && rest_.empty(); }  // All read, nothing left over.

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace dormouse
