#include "cli/request_body.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "cli/files.h"
#include "gateway/json.h"

namespace dormouse::cli {
namespace {

std::string type_of_file(const std::string& path) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> types{{
      {".json", "application/json"},
      {".npy", "application/x-npy"},
      {".png", "image/png"},
      {".jpg", "image/jpeg"},
      {".jpeg", "image/jpeg"},
      {".webp", "image/webp"},
      {".txt", "text/plain; charset=utf-8"},
      {".csv", "text/csv"},
  }};
  const std::string extension = std::filesystem::path(path).extension();
  const auto found = std::ranges::find(types, extension, [](const auto& row) { return row.first; });
  return std::string(found == types.end() ? "application/octet-stream" : found->second);
}

}  // namespace

RequestBody body_of_text(std::string text) {
  const bool json = gateway::parse_json(text).has_value();
  return {std::move(text), json ? "application/json" : "text/plain; charset=utf-8"};
}

Result<RequestBody> body_of_file(const std::string& path) {
  constexpr std::uint64_t bytes_max = std::uint64_t{4} << 30;  // What the largest max_body takes.
  auto bytes = read_whole(path, bytes_max);
  if (!bytes) return bytes.error();
  return RequestBody{*std::move(bytes), type_of_file(path)};
}

}  // namespace dormouse::cli
