#include "secrets/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <algorithm>
#include <memory>

#include "base/check.h"

namespace dormouse::secrets {
namespace {

constexpr std::size_t tag_size = 16;

struct Free {
  void operator()(EVP_CIPHER_CTX* cipher) const { EVP_CIPHER_CTX_free(cipher); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, Free>;

const std::uint8_t* raw(std::string_view text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}
std::uint8_t* raw(std::string& text) {
  return reinterpret_cast<std::uint8_t*>(text.data());
}

enum class Direction : int { opening = 0, sealing = 1 };

// Ready for the bytes themselves. What fails here is out of memory, or a library that lacks AES.
Cipher begin(Direction direction, const MasterKey& key, std::string_view nonce,
             std::string_view associated) {
  CHECK(nonce.size() == nonce_size);
  Cipher cipher(EVP_CIPHER_CTX_new());
  int size = 0;
  CHECK(EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.bytes(), raw(nonce),
                          static_cast<int>(direction)) == 1);
  CHECK(EVP_CipherUpdate(cipher.get(), nullptr, &size, raw(associated),
                         static_cast<int>(associated.size())) == 1);
  return cipher;
}

std::string pass_through(const Cipher& cipher, std::string_view bytes) {
  std::string out(bytes.size(), '\0');
  int size = 0;
  CHECK(EVP_CipherUpdate(cipher.get(), raw(out), &size, raw(bytes),
                         static_cast<int>(bytes.size())) == 1);
  CHECK(size == static_cast<int>(bytes.size()));
  return out;
}

}  // namespace

MasterKey::MasterKey(std::string_view raw_bytes) {
  CHECK(raw_bytes.size() == size);
  std::ranges::copy(raw_bytes, bytes_.begin());
}

MasterKey::~MasterKey() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

std::string fresh_nonce() {
  std::string nonce(nonce_size, '\0');
  CHECK(::getrandom(nonce.data(), nonce.size(), 0) == std::ssize(nonce));
  return nonce;
}

Sealed seal(const MasterKey& key, std::string nonce, std::string_view plain,
            std::string_view associated) {
  const Cipher cipher = begin(Direction::sealing, key, nonce, associated);
  std::string bytes = pass_through(cipher, plain);
  std::string tag(tag_size, '\0');
  int size = 0;
  CHECK(EVP_CipherFinal_ex(cipher.get(), raw(tag), &size) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, tag_size, tag.data()) == 1);
  return {std::move(nonce), std::move(bytes) + tag};
}

std::optional<std::string> open(const MasterKey& key, const Sealed& sealed,
                                std::string_view associated) {
  if (sealed.nonce.size() != nonce_size || sealed.bytes.size() < tag_size) return std::nullopt;
  const std::string_view all = sealed.bytes;
  std::string tag(all.substr(all.size() - tag_size));
  const Cipher cipher = begin(Direction::opening, key, sealed.nonce, associated);
  std::string plain = pass_through(cipher, all.substr(0, all.size() - tag_size));
  CHECK(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_SET_TAG, tag_size, tag.data()) == 1);
  std::uint8_t nothing[1];
  int size = 0;
  if (EVP_CipherFinal_ex(cipher.get(), nothing, &size) == 1) return plain;
  wipe(plain);
  return std::nullopt;
}

void wipe(std::string& text) {
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

}  // namespace dormouse::secrets
