#include "conversations/page.h"

#include "base/bytes.h"
#include "base/check.h"

namespace dormouse::conversations {
namespace {

constexpr std::string_view magic = "dormconv";
constexpr std::uint32_t version = 1;
constexpr std::string_view letters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string base64url(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) out += letters[bits >> (count - 6) & 63];
  }
  if (count > 0) out += letters[bits << (6 - count) & 63];
  return out;
}

}  // namespace

std::string first_page(const Key& key, std::uint64_t size) {
  std::string page(magic);
  put(page, version);
  put(page, size);
  for (const std::string* part :
       {&key.revision.tenant, &key.revision.function, &key.revision.digest, &key.name}) {
    put_sized(page, *part);
  }
  CHECK(page.size() <= page_bytes);
  page.resize(page_bytes);
  return page;
}

std::filesystem::path place_of(const Key& key) {
  const Revision& revision = key.revision;
  return std::filesystem::path(revision.tenant) / revision.function / revision.digest /
         base64url(key.name);
}

std::optional<std::string> name_of_file(std::string_view file) {
  std::string name;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : file) {
    const auto value = letters.find(c);
    if (value == letters.npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    name += static_cast<char>(bits >> count & 255);
  }
  if (base64url(name) != file) return std::nullopt;
  return name;
}

}  // namespace dormouse::conversations
