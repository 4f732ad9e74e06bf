#include "control/lambda_routes.h"

#include <algorithm>

namespace dormouse::control {
namespace {

constexpr std::string_view nameless = "-", tags = "#";
constexpr LambdaRow rows[] = {
    {"POST", nameless, LambdaOperation::create, 201, zip_request_bytes_max},
    {"GET", nameless, LambdaOperation::list, 200, 0},
    {"GET", "", LambdaOperation::get, 200, 0},
    {"DELETE", "", LambdaOperation::remove, 204, 0},
    {"GET", "configuration", LambdaOperation::configuration, 200, 0},
    {"PUT", "configuration", LambdaOperation::update_configuration, 200, lambda_request_bytes_max},
    {"PUT", "code", LambdaOperation::update_code, 200, zip_request_bytes_max},
    {"POST", "versions", LambdaOperation::publish, 201, lambda_request_bytes_max},
    {"GET", "versions", LambdaOperation::versions, 200, 0},
    {"GET", tags, LambdaOperation::list_tags, 200, 0},
    {"POST", tags, LambdaOperation::tag, 204, lambda_request_bytes_max},
    {"DELETE", tags, LambdaOperation::untag, 204, 0},
};

LambdaMatch row_of(std::string_view method, std::string_view place, std::string_view name) {
  for (const LambdaRow& row : rows) {
    if (row.method == method && row.place == place) return {&row, std::string(name)};
  }
  return {};
}

}  // namespace

LambdaMatch match_lambda(std::string_view method, std::string_view path) {
  constexpr std::string_view functions = "/2015-03-31/functions", of_tags = "/2017-03-31/tags/";
  if (path.starts_with(of_tags)) {
    path.remove_prefix(of_tags.size());
    return path.empty() || path.contains('/') ? LambdaMatch{} : row_of(method, tags, path);
  }
  if (!path.starts_with(functions)) return {};
  path.remove_prefix(functions.size());
  if (path.empty() || path == "/") return row_of(method, nameless, "");
  if (path.front() != '/') return {};
  path.remove_prefix(1);
  const std::string_view name = path.substr(0, path.find('/'));
  return row_of(method, path.substr(std::min(path.size(), name.size() + 1)), name);
}

}  // namespace dormouse::control
