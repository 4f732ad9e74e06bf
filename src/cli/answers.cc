#include "cli/answers.h"

#include <algorithm>
#include <boost/json.hpp>

#include "cli/print.h"

namespace dormouse::cli {

const json::value* at(const json::value& value, std::string_view path) {
  const json::value* here = &value;
  while (here != nullptr && !path.empty()) {
    const std::string_view name = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    here = here->is_object() ? here->get_object().if_contains(name) : nullptr;
  }
  return here;
}

std::string text_at(const json::value& value, std::string_view path) {
  const json::value* found = at(value, path);
  return found != nullptr && found->is_string() ? harmless(found->get_string()) : "";
}

std::int64_t count_at(const json::value& value, std::string_view path) {
  const json::value* found = at(value, path);
  return found != nullptr && found->is_int64() ? found->get_int64() : 0;
}

double number_at(const json::value& value, std::string_view path) {
  const json::value* found = at(value, path);
  if (found == nullptr || !found->is_number()) return 0;
  if (found->is_double()) return found->get_double();
  return static_cast<double>(count_at(value, path));
}

bool flag_at(const json::value& value, std::string_view path) {
  const json::value* found = at(value, path);
  return found != nullptr && found->is_bool() && found->get_bool();
}

const json::array& list_at(const json::value& value, std::string_view path) {
  static const json::array nothing;
  const json::value* found = at(value, path);
  return found != nullptr && found->is_array() ? found->get_array() : nothing;
}

std::string readable_time(const std::string& time) {
  std::string text = time.substr(0, 19);
  std::ranges::replace(text, 'T', ' ');
  return text;
}

}  // namespace dormouse::cli
