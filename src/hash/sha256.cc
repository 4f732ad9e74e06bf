#include "hash/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace dormouse::hash {
namespace {

// To look it up takes longer than to hash a short text. It is never given back.
const EVP_MD* algorithm() {
  static const EVP_MD* const found = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return found;
}

}  // namespace

void Hasher::Free::operator()(evp_md_ctx_st* state) const {
  EVP_MD_CTX_free(state);
}

Hasher::Hasher() : state_(EVP_MD_CTX_new()) {
  CHECK(state_ && EVP_DigestInit_ex2(state_.get(), algorithm(), nullptr) == 1);
}

Hasher& Hasher::add(std::string_view bytes) {
  CHECK(EVP_DigestUpdate(state_.get(), bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256 Hasher::finish() {
  Sha256 whole;
  CHECK(EVP_DigestFinal_ex(state_.get(), whole.data(), nullptr) == 1 &&
        EVP_DigestInit_ex2(state_.get(), nullptr, nullptr) == 1);
  return whole;
}

Sha256 sha256(std::string_view bytes) {
  return Hasher().add(bytes).finish();
}

std::string hex(const Sha256& bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text(2 * bytes.size(), '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text[2 * i] = digits[bytes[i] >> 4];
    text[2 * i + 1] = digits[bytes[i] & 15];
  }
  return text;
}

Digest as_digest(const Sha256& bytes) {
  return *Digest::parse(std::string(Digest::prefix) + hex(bytes));
}

}  // namespace dormouse::hash
