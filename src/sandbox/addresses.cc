#include "sandbox/addresses.h"

#include <algorithm>
#include <charconv>

namespace dormouse::sandbox {
namespace {

constexpr Range ranges[] = {
    {{0x00000000}, 8, "this host"},
    {{0x0A000000}, 8, "a private network"},
    {{0x64400000}, 10, "a provider's private network"},
    {{0x7F000000}, 8, "the loopback"},
    {{0xA83F8110}, 32, "a cloud's metadata service"},  // Azure's, at what looks like the world's.
    {{0xA9FE0000}, 16, "the link, metadata services among it"},
    {{0xAC100000}, 12, "a private network"},
    {{0xC0000000}, 24, "protocols' own use"},
    {{0xC0A80000}, 16, "a private network"},
    {{0xC6120000}, 15, "the ways out of sandboxes"},
    {{0xE0000000}, 4, "multicast"},
    {{0xF0000000}, 4, "reserved, or broadcast"},
};

constexpr std::uint32_t mask_of(int prefix) {
  return prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix);
}

}  // namespace

std::string Ipv4::text() const {
  std::string out;
  for (const int shift : {24, 16, 8, 0}) {
    out += (out.empty() ? "" : ".") + std::to_string(number >> shift & 0xFF);
  }
  return out;
}

std::optional<Ipv4> parse_ipv4(std::string_view text) {
  Ipv4 address;
  for (int part = 0; part < 4; ++part) {
    const std::string_view digits = text.substr(0, text.find('.'));
    std::uint32_t value = 0;
    const auto [end, failed] = std::from_chars(digits.begin(), digits.end(), value);
    const bool needless_zero = digits.size() > 1 && digits.front() == '0';
    if (failed != std::errc() || end != digits.end() || value > 255 || needless_zero) return {};
    address.number = address.number << 8 | value;
    const bool is_last = digits.size() == text.size();
    if (is_last != (part == 3)) return {};
    if (!is_last) text.remove_prefix(digits.size() + 1);
  }
  return address;
}

bool Range::contains(Ipv4 address) const {
  return ((address.number ^ first.number) & mask_of(prefix)) == 0;
}

std::string Range::text() const {
  return first.text() + "/" + std::to_string(prefix);
}

std::span<const Range> private_ranges() {
  return ranges;
}

const Range* private_range_of(Ipv4 address) {
  const auto holds = [&](const Range& range) { return range.contains(address); };
  const auto* const found = std::ranges::find_if(ranges, holds);
  return found == std::end(ranges) ? nullptr : found;
}

bool may_be_allowed(Ipv4 address) {
  constexpr std::uint32_t networks[] = {0x0A000000, 0x64400000, 0xAC100000, 0xC0A80000};
  const Range* const range = private_range_of(address);
  return range == nullptr || std::ranges::find(networks, range->first.number) != std::end(networks);
}

std::vector<Ipv4> nameservers_in(std::string_view resolv_conf) {
  constexpr std::string_view word = "nameserver";
  std::vector<Ipv4> found;
  while (!resolv_conf.empty()) {
    std::string_view line = resolv_conf.substr(0, resolv_conf.find('\n'));
    resolv_conf.remove_prefix(std::min(line.size() + 1, resolv_conf.size()));
    if (!line.starts_with(word)) continue;
    line.remove_prefix(word.size());
    const auto begin = line.find_first_not_of(" \t");
    if (begin == 0 || begin == line.npos) continue;
    line.remove_prefix(begin);
    const auto address = parse_ipv4(line.substr(0, line.find_first_of(" \t\r#;")));
    if (address) found.push_back(*address);
  }
  return found;
}

}  // namespace dormouse::sandbox
