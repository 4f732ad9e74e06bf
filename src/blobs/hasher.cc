#include "blobs/hasher.h"

#include <openssl/evp.h>

#include "blobs/blobs.h"

namespace dormouse::blobs {

void Hasher::Free::operator()(evp_md_ctx_st* state) const {
  EVP_MD_CTX_free(state);
}

Hasher::Hasher() : state_(EVP_MD_CTX_new()) {
  CHECK(state_ && EVP_DigestInit_ex(state_.get(), EVP_sha256(), nullptr) == 1);
}

void Hasher::add(std::string_view bytes) {
  CHECK(EVP_DigestUpdate(state_.get(), bytes.data(), bytes.size()) == 1);
}

Digest Hasher::finish() {
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(state_.get(), raw, &size) == 1);
  std::string text(Digest::prefix);
  for (unsigned i = 0; i < size; ++i) {
    text += "0123456789abcdef"[raw[i] >> 4];
    text += "0123456789abcdef"[raw[i] & 15];
  }
  return *Digest::parse(text);
}

Digest digest_of(std::string_view bytes) {
  Hasher hasher;
  hasher.add(bytes);
  return hasher.finish();
}

}  // namespace dormouse::blobs
