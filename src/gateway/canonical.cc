#include "gateway/canonical.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "http/head.h"

namespace dormouse::gateway {
namespace {

constexpr std::size_t usual_request_bytes = 1024;

// RFC 3986.
constexpr auto unreserved = [] {
  std::array<bool, 256> plain{};
  constexpr std::string_view all =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  for (const char c : all) plain[static_cast<unsigned char>(c)] = true;
  return plain;
}();

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int letter = c | 0x20;
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : 0;
}

// A '+' is itself here. Two digits follow each '%': the server saw to it.
std::string uri_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 2 >= text.size()) {
      decoded += text[i];
      continue;
    }
    decoded += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
    i += 2;
  }
  return decoded;
}

bool is_condensed(std::string_view value) {
  const bool has_edge = !value.empty() && (value.front() == ' ' || value.back() == ' ');
  return !has_edge && value.find('\t') == value.npos && value.find("  ") == value.npos;
}

// Without blanks around it, and with one where there are several.
std::string condensed(std::string_view value) {
  if (is_condensed(value)) return std::string(value);
  std::string text;
  bool blank = false;
  for (const char c : value) {
    if (c == ' ' || c == '\t') {
      blank = !text.empty();
      continue;
    }
    if (std::exchange(blank, false)) text += ' ';
    text += c;
  }
  return text;
}

std::string canonical_query(std::string_view query) {
  Parameters encoded;
  for (const auto& [name, value] : parameters_of(query)) {
    if (name == "X-Amz-Signature") continue;
    encoded.emplace_back(uri_encoded(name, Slash::encoded), uri_encoded(value, Slash::encoded));
  }
  std::ranges::sort(encoded);
  std::string text;
  for (const auto& [name, value] : encoded) {
    text += (text.empty() ? "" : "&") + name + "=" + value;
  }
  return text;
}

}  // namespace

std::string uri_encoded(std::string_view text, Slash slash) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  const auto is_plain = [slash](char c) {
    return unreserved[static_cast<unsigned char>(c)] || (c == '/' && slash == Slash::kept);
  };
  if (std::ranges::all_of(text, is_plain)) return std::string(text);
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (is_plain(c)) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += {'%', digits[byte >> 4], digits[byte & 15]};
  }
  return encoded;
}

Parameters parameters_of(std::string_view query) {
  Parameters all;
  for (const std::string_view part : split(query, '&')) {
    if (part.empty()) continue;
    const auto equals = std::min(part.find('='), part.size());
    const std::string_view value = part.substr(std::min(equals + 1, part.size()));
    all.emplace_back(uri_decoded(part.substr(0, equals)), uri_decoded(value));
  }
  return all;
}

bool append_canonical_field(std::string& text, const http::Fields& fields, std::string_view name) {
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  char before = ':';
  for (const auto& [mixed, value] : fields.all()) {
    if (mixed != name && !http::equals_ignoring_case(mixed, name)) continue;
    if (before == ':') text.append(name);
    text += std::exchange(before, ',');
    text.append(condensed(value));
  }
  text += '\n';
  return before == ',' && std::ranges::none_of(name, is_upper);
}

std::string canonical_request(const http::Head& head, const CanonicalParts& parts) {
  std::string text;
  text.reserve(usual_request_bytes);
  text.append(head.method).append("\n").append(parts.path).append("\n");
  text.append(canonical_query(head.query)).append("\n").append(parts.fields).append("\n");
  text.append(parts.signed_headers).append("\n").append(parts.payload_hash);
  return text;
}

}  // namespace dormouse::gateway
