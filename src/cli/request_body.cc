#include "cli/request_body.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "gateway/json.h"
#include "wire/socket.h"

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
  constexpr std::size_t bytes_max = std::size_t{4} << 30;  // What the largest max_body takes.
  const wire::Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error(Code::not_found, "opening " + path);
  std::string bytes;
  std::array<char, 64 * 1024> piece;
  ssize_t got;
  while ((got = read(file.number(), piece.data(), piece.size())) > 0) {
    bytes.append(piece.data(), static_cast<std::size_t>(got));
    if (bytes.size() > bytes_max) return Error{Code::too_large, path + " has more than 4GiB"};
  }
  if (got < 0) return system_error(Code::invalid_argument, "reading " + path);
  return RequestBody{std::move(bytes), type_of_file(path)};
}

}  // namespace dormouse::cli
