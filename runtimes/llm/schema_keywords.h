// The keywords of JSON Schema, and which of them llama.cpp's grammars follow. Pure.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dormouse::llm {

// What a value may be, as bits.
namespace kind {
inline constexpr std::uint8_t object = 1, array = 2, string = 4, integer = 8, number = 16;
inline constexpr std::uint8_t other = 32, any = 63;
}  // namespace kind

struct Keyword {
  std::string_view name;
  std::uint8_t of;        // The kinds that it says something of; to others it means nothing.
  std::uint8_t followed;  // Those of which a grammar follows it.
};

const Keyword* keyword(std::string_view name);  // nullptr: there is none.
bool is_annotation(std::string_view name);      // It says nothing of a value.

std::optional<std::uint8_t> kind_of(std::string_view type);
// JSON Schema's type, "integer" of 2.0, too.
bool is_of_type(const boost::json::value&, std::string_view type);

}  // namespace dormouse::llm
