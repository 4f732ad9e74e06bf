// What makes an altered byte of the ledger visible: CRC-32C per record, which is cheap and names
// the record, and a chain of truncated SHA-256 over batches, which cannot be repaired unnoticed.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "hash/sha256.h"

namespace dormouse::ledger {

// `before`: of what comes before these bytes.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

using Chain = std::array<char, 16>;
inline std::string_view as_text(const Chain& chain) {
  return {chain.data(), chain.size()};
}

class Chainer {
 public:
  // The first 16 bytes of SHA-256(before ‖ batch).
  Chain after(const Chain& before, std::string_view batch);

 private:
  hash::Hasher hasher_;
};

}  // namespace dormouse::ledger
