#include "gateway/canonical.h"

#include <algorithm>

#include "base/ascii.h"

namespace dormouse::gateway {
namespace {

constexpr std::size_t usual_request_bytes = 1024;

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

std::string joined(const std::vector<std::string>& parts, char with) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += with;
    text += part;
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
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' ||
                       (c == '/' && slash == Slash::kept);
    if (plain) {
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

std::string condensed(std::string_view value) {
  bool after_blank = true, is_already = true;
  for (const char c : value) {
    is_already = is_already && c != '\t' && !(after_blank && c == ' ');
    after_blank = c == ' ';
  }
  if (is_already && (value.empty() || !after_blank)) return std::string(value);
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

CanonicalFields fields_of(const http::Fields& fields) {
  CanonicalFields all;
  all.reserve(fields.all().size());
  for (const auto& [mixed, value] : fields.all()) {
    std::string name = lower(mixed);
    const auto at = std::ranges::lower_bound(all, name, {}, &CanonicalFields::value_type::first);
    if (at != all.end() && at->first == name) {
      at->second += "," + condensed(value);
    } else {
      all.emplace(at, std::move(name), condensed(value));
    }
  }
  return all;
}

const std::string* find_field(const CanonicalFields& fields, std::string_view name) {
  const auto at = std::ranges::lower_bound(fields, name, {}, &CanonicalFields::value_type::first);
  return at != fields.end() && at->first == name ? &at->second : nullptr;
}

std::string canonical_request(const http::Head& head, const CanonicalParts& parts) {
  std::string text;
  text.reserve(usual_request_bytes);
  text.append(head.method).append("\n").append(parts.path).append("\n");
  text.append(canonical_query(head.query)).append("\n");
  for (const std::string& name : parts.signed_headers) {
    text.append(name).append(":").append(*find_field(parts.fields, name)).append("\n");
  }
  text.append("\n")
      .append(joined(parts.signed_headers, ';'))
      .append("\n")
      .append(parts.payload_hash);
  return text;
}

}  // namespace dormouse::gateway
