#include "control/routes.h"

#include <array>
#include <optional>

namespace dormouse::control {
namespace {

constexpr std::uint64_t chunk_bytes_max = 8 << 20;
constexpr std::uint64_t json_bytes_max = 4 << 20;
constexpr std::uint64_t small_bytes_max = 64 << 10;

using enum Operation;
using enum Accepts;

const std::array<Route, 20> table{{
    {"GET", "/api/v1/node", node, nothing, 0, false, "Node", "", "What this node is and has.", {}},
    {"GET",
     "/api/v1/doctor",
     doctor,
     nothing,
     0,
     false,
     "Findings",
     "",
     "What the host lacks for sandboxes, and what that costs.",
     {}},
    {"GET", "/api/v1/openapi.json", openapi, nothing, 0, false, "Any", "", "This document.", {}},
    {"POST",
     "/api/v1/blobs/missing",
     blobs_missing,
     json,
     json_bytes_max,
     false,
     "Missing",
     "Digests",
     "Which of these blobs the node lacks, and how far each upload has come.",
     {}},
    {"PUT",
     "/api/v1/blobs/{digest}",
     blob_upload,
     bytes,
     chunk_bytes_max,
     false,
     "Uploaded",
     "",
     "Adds a chunk of at most 8 MiB to a blob. A chunk that is not where the upload stands is a "
     "conflict.",
     {{"offset", "Where the chunk begins; 0 if left out."},
      {"last", "`true` with the last chunk: the blob is verified and kept."}}},
    {"POST",
     "/api/v1/functions/{name}/revisions",
     deploy,
     json,
     json_bytes_max,
     true,
     "DeployLine",
     "Deploy",
     "Deploys: starts the revision once, and lets it serve if that went well. One deploy of a "
     "function at a time: a second one is a conflict. A deploy goes on to its end when its client "
     "leaves; a rollback or a removal of the function ends it. Empty lines say only that it still "
     "goes on.",
     {}},
    {"GET",
     "/api/v1/functions",
     list,
     nothing,
     0,
     false,
     "Functions",
     "",
     "All functions, with what they hold and how often they were called.",
     {}},
    {"GET",
     "/api/v1/functions/{name}",
     show,
     nothing,
     0,
     false,
     "Function",
     "",
     "One function, with the revision that serves.",
     {}},
    {"DELETE",
     "/api/v1/functions/{name}",
     Operation::remove,
     nothing,
     0,
     false,
     "Removed",
     "",
     "Removes a function with all its revisions and logs, and ends a deploy of it. Its receipts "
     "stay.",
     {}},
    {"DELETE",
     "/api/v1/functions/{name}/revisions/{number}",
     remove_revision,
     nothing,
     0,
     false,
     "Removed",
     "",
     "Removes one revision, and its files if no other has them. The one that serves is a conflict.",
     {}},
    {"GET",
     "/api/v1/functions/{name}/revisions",
     revisions,
     nothing,
     0,
     false,
     "Revisions",
     "",
     "The revisions of a function, the newest first.",
     {}},
    {"POST",
     "/api/v1/functions/{name}/rollback",
     rollback,
     json,
     small_bytes_max,
     false,
     "Revision",
     "Rollback",
     "Lets another revision serve: the one named, or else the one that served before the one that "
     "serves. A deploy of the function that is not done yet is ended.",
     {}},
    {"GET",
     "/api/v1/functions/{name}/logs",
     logs,
     nothing,
     0,
     true,
     "LogLine",
     "",
     "What the function printed, the oldest first. Empty lines say only that there is nothing yet.",
     {{"after", "Only lines after this sequence number. Left out: the last ones."},
      {"lines",
       "How many lines at most, before following: 1 to 10000, or else 100, with `invocation` "
       "10000."},
      {"follow", "`true`: goes on with each line as it comes."},
      {"invocation", "Only the lines of the call with this id."}}},
    {"GET",
     "/api/v1/functions/{name}/conversations",
     conversations,
     nothing,
     0,
     false,
     "Conversations",
     "",
     "What is kept of a language model's conversations, the last used first.",
     {}},
    {"DELETE",
     "/api/v1/functions/{name}/conversations",
     conversations_forget,
     nothing,
     0,
     false,
     "Removed",
     "",
     "Forgets what is kept of a conversation, or of all of a function's.",
     {{"id", "Only this conversation. Left out: all."}}},
    {"GET",
     "/api/v1/usage",
     usage,
     nothing,
     0,
     false,
     "Usage",
     "",
     "Sums over receipts, by the hour.",
     {{"since",
       "A time, or a duration before now: `2026-11-24`, `24h`, from the beginning of its hour, as "
       "the answer's `since` says. Left out: everything."},
      {"by", "`function`: a sum for each. Left out: one sum."},
      {"function", "Only this function's."}}},
    {"GET",
     "/api/v1/invocations/{id}",
     invocation,
     nothing,
     0,
     false,
     "Receipts",
     "",
     "The receipts of an invocation, one for each attempt.",
     {}},
    {"GET",
     "/api/v1/secrets",
     secrets,
     nothing,
     0,
     false,
     "Secrets",
     "",
     "All secrets: names and versions, and which functions use them. Never a value.",
     {}},
    {"PUT",
     "/api/v1/secrets/{name}",
     secret_set,
     bytes,
     small_bytes_max,
     false,
     "SecretSet",
     "",
     "Sets a secret to the body's bytes, UTF-8 of 1 byte to 32 KiB without NUL. Once this has "
     "answered, further calls of the functions that use it see the new value; running ones end as "
     "they began.",
     {}},
    {"DELETE",
     "/api/v1/secrets/{name}",
     secret_remove,
     nothing,
     0,
     false,
     "Removed",
     "",
     "Removes a secret. One that a function uses is a conflict.",
     {}},
}};

// The parameters of `path` if it has the form of `pattern`.
std::optional<std::vector<std::string>> parameters(std::string_view pattern,
                                                   std::string_view path) {
  std::vector<std::string> found;
  while (!pattern.empty() && !path.empty()) {
    const auto wanted = pattern.substr(0, pattern.find('/', 1));
    const auto given = path.substr(0, path.find('/', 1));
    if (wanted.starts_with("/{")) {
      if (given.size() < 2) return std::nullopt;
      found.emplace_back(given.substr(1));
    } else if (wanted != given) {
      return std::nullopt;
    }
    pattern.remove_prefix(wanted.size());
    path.remove_prefix(given.size());
  }
  if (!pattern.empty() || !path.empty()) return std::nullopt;
  return found;
}

}  // namespace

std::span<const Route> routes() {
  return table;
}

Match match(std::string_view method, std::string_view path) {
  Match result;
  for (const Route& route : table) {
    auto found = parameters(route.pattern, path);
    if (!found) continue;
    if (route.method == method) return {&route, std::move(*found), {}};
    result.allow += (result.allow.empty() ? "" : ", ") + std::string(route.method);
  }
  return result;
}

}  // namespace dormouse::control
