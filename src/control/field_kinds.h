// A field of the manifest, and the kinds of what fields hold: where it lies in a Manifest, its
// bounds, and how it is read from JSON and written to it. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "catalog/catalog.h"
#include "control/secret_uses.h"
#include "gateway/json.h"

namespace dormouse::control {

using Texts = std::map<std::string, std::string>;

struct Text {
  std::string& (*at)(catalog::Manifest&);
  Result<> (*check)(std::string_view);
  const char* allowed;
};
struct Size {
  std::int64_t& (*at)(catalog::Manifest&);
  std::int64_t least, most;
};
struct Cpus {
  std::int64_t& (*at)(catalog::Manifest&);
  std::int64_t least, most;  // Thousandths.
};
struct Time {
  Duration& (*at)(catalog::Manifest&);
  Duration least, most;
};
struct Count {
  std::int32_t& (*at)(catalog::Manifest&);
  std::int32_t least, most;
};
struct Map {
  Texts& (*at)(catalog::Manifest&);
  bool (*good_key)(std::string_view);
  const char* keys;
  // Values may have decimals, and be lists: [0.5, 0.25] is taken as "0.5, 0.25".
  bool takes_lists = false;
};
struct SecretMap {
  SecretUses& (*at)(catalog::Manifest&);
};
struct List {
  std::vector<std::string>& (*at)(catalog::Manifest&);
  std::size_t most;
};
struct NetworkReach {
  catalog::Network& (*at)(catalog::Manifest&);
};
struct Field {
  std::string_view name;  // "python.packages": "packages" in the section "python".
  std::variant<Text, Size, Cpus, Time, Count, Map, SecretMap, List, NetworkReach> holds;
  std::string_view meaning;
  bool required = false;
};

// "from 16MiB to 4TiB", "`none` or `host`"
std::string allowed(const Field&);

// "size", "list of texts"
std::string_view type(const Field&);

// invalid_argument says what is wrong with the value, without the field's name.
Result<> read(const Field&, const json::value&, catalog::Manifest&);

// Reads the manifest only: the accessors give references to change, and serve both directions.
json::value written(const Field&, catalog::Manifest&);

}  // namespace dormouse::control
