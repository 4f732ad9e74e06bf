// Reading the control API's answers: a field that is missing is empty or 0, so that an older daemon
// can be asked too.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/json.h"

namespace dormouse::cli {

// "summary.instances.busy": a dot goes one level down.
const json::value* at(const json::value&, std::string_view path);
std::string text_at(const json::value&, std::string_view path);
std::int64_t count_at(const json::value&, std::string_view path);
double number_at(const json::value&, std::string_view path);
bool flag_at(const json::value&, std::string_view path);
const json::array& list_at(const json::value&, std::string_view path);

std::string readable_time(const std::string& time);  // "2026-11-24 08:30:31"

}  // namespace dormouse::cli
