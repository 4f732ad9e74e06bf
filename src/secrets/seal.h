// One record under lock and key: AES-256-GCM. What was sealed opens only with the same key and the
// same associated bytes, and only if no bit of it, its nonce or those bytes was changed. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dormouse::secrets {

// Wiped from memory when it goes.
class MasterKey {
 public:
  static constexpr std::size_t size = 32;
  explicit MasterKey(std::string_view raw);  // CHECKs that they are `size` bytes.
  MasterKey(const MasterKey&) = default;
  MasterKey& operator=(const MasterKey&) = default;
  ~MasterKey();
  const std::uint8_t* bytes() const { return bytes_.data(); }

 private:
  std::array<std::uint8_t, size> bytes_;
};

struct Sealed {
  std::string nonce;  // Never used twice with a key.
  std::string bytes;  // As many as were sealed, and a tag of 16.
};

inline constexpr std::size_t nonce_size = 12;
std::string fresh_nonce();  // Random, from the kernel: not pure.

Sealed seal(const MasterKey&, std::string nonce, std::string_view plain,
            std::string_view associated);
// nullopt: it is not what was sealed, or not with this key.
std::optional<std::string> open(const MasterKey&, const Sealed&, std::string_view associated);

void wipe(std::string&);  // Overwrites what it holds, and empties it.

}  // namespace dormouse::secrets
