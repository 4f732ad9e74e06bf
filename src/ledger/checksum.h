// What makes an altered byte of the ledger visible: CRC-32C per record, which is cheap and names
// the record, and a chain of truncated SHA-256 over batches, which cannot be repaired unnoticed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

struct evp_md_ctx_st;

namespace dormouse::ledger {

std::uint32_t crc32c(std::string_view bytes);

using Chain = std::array<char, 16>;
inline std::string_view as_text(const Chain& chain) {
  return {chain.data(), chain.size()};
}

class Chainer {
 public:
  Chainer();
  // The first 16 bytes of SHA-256(before ‖ batch).
  Chain after(const Chain& before, std::string_view batch);

 private:
  struct Free {
    void operator()(evp_md_ctx_st*) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> state_;
};

}  // namespace dormouse::ledger
