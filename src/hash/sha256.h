// SHA-256 (FIPS 180-4), whole or a piece at a time. A Hasher belongs to one thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/digest.h"

struct evp_md_ctx_st;

namespace dormouse::hash {

using Sha256 = std::array<std::uint8_t, 32>;

inline std::string_view as_text(const Sha256& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Hasher {
 public:
  Hasher();
  Hasher& add(std::string_view bytes);
  Sha256 finish();  // Of all that was added; it is then as a new one.

 private:
  struct Free {
    void operator()(evp_md_ctx_st*) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> state_;
};

Sha256 sha256(std::string_view bytes);
std::string hex(const Sha256&);  // 64 digits, lower-case.
Digest as_digest(const Sha256&);

}  // namespace dormouse::hash
