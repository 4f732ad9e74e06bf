#include "gateway/lambda_client.h"

#include <cstdint>

#include "base/utf8.h"
#include "gateway/lambda.h"
#include "wire/messages.h"

namespace dormouse::gateway {
namespace {

Error wrong(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

Error too_long() {
  return wrong("Client context is longer than " + std::to_string(client_context_base64_bytes_max) +
               " bytes of base64");
}

void append_unit(std::string& out, std::uint32_t unit) {
  constexpr std::string_view digits = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += digits[(unit >> shift) & 15];
}

// The escapes of JSON for one character of UTF-8: one unit of UTF-16, or two.
void append_escaped(std::string& out, std::string_view character) {
  constexpr std::uint32_t lead_bits[] = {0x7F, 0x1F, 0x0F, 0x07};
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(character[i]); };
  std::uint32_t code = byte(0) & lead_bits[character.size() - 1];
  for (std::size_t i = 1; i < character.size(); ++i) code = code << 6 | (byte(i) & 0x3F);
  if (code < 0x10000) return append_unit(out, code);
  append_unit(out, 0xD800 + ((code - 0x10000) >> 10));
  append_unit(out, 0xDC00 + ((code - 0x10000) & 0x3FF));
}

// Of JSON that is known to be such: control bytes are between its values, all else that is not
// ASCII within its texts.
std::string in_ascii(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = utf8_size(text);
    CHECK(size > 0);
    const std::string_view character = text.substr(0, size);
    if (size > 1 || character[0] == '\x7F') {
      append_escaped(out, character);
    } else {
      out += character[0] < ' ' ? ' ' : character[0];
    }
    text.remove_prefix(size);
  }
  return out;
}

}  // namespace

Result<std::string> read_client_context(const http::Fields& fields) {
  const std::string_view given = fields.find(client_context_field).value_or("");
  if (given.empty()) return std::string();
  if (given.size() > client_context_base64_bytes_max) return too_long();
  const auto text = from_base64(given);
  const auto first = text ? text->find_first_not_of(" \t\r\n") : std::string::npos;
  const bool is_object =
      first != std::string::npos && (*text)[first] == '{' && check_lambda_payload(*text);
  if (!is_object) return wrong("Client context must be a valid Base64-encoded JSON object.");
  std::string context = in_ascii(*text);
  if (context.size() > wire::client_context_bytes_max) return too_long();
  return context;
}

}  // namespace dormouse::gateway
