// The control API's routes: one table, from which requests are dispatched, the OpenAPI document is
// made and the reference page is written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::control {

enum class Operation : std::uint8_t {
  node,
  doctor,
  openapi,
  blobs_missing,
  blob_upload,
  deploy,
  list,
  show,
  remove,
  remove_revision,
  revisions,
  rollback,
  logs,
  usage,
  invocation,
  conversations,
  conversations_forget,
  secrets,
  secret_set,
  secret_remove,
};

// What a request's body must be.
enum class Accepts : std::uint8_t { nothing, json, bytes };

struct Parameter {
  std::string_view name;
  std::string_view meaning;
};

struct Route {
  std::string_view method;
  std::string_view pattern;  // "/api/v1/functions/{name}"
  Operation operation;
  Accepts accepts;
  std::uint64_t body_bytes_max;
  bool streams;             // Answers with application/x-ndjson.
  std::string_view schema;  // Of the answer, or of each of its lines: a component's name.
  std::string_view takes;   // Of the request's body, if it is JSON.
  std::string_view meaning;
  std::vector<Parameter> query;
};

std::span<const Route> routes();

struct Match {
  const Route* route = nullptr;  // nullptr: no such path, or not with this method.
  std::vector<std::string> parameters;
  std::string allow;  // The methods that the path has; empty: no such path.
};
Match match(std::string_view method, std::string_view path);

std::string openapi_document(std::string_view version);
std::string api_page();  // All of docs/reference/control-api.md.

}  // namespace dormouse::control
