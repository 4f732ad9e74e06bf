// What every file that awaits includes, and no more: clang-tidy looks at all of it again for each
// of them. See precompiled_header() in cmake/module.cmake.
#pragma once

#include <algorithm>
#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#ifdef PRECOMPILED_FOR_CLI
#include <CLI/App.hpp>
#include <boost/json.hpp>
#endif

#ifdef PRECOMPILED_FOR_TESTS
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#endif
