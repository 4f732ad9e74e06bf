// What a request is for: a pure function of its method and path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "http/message.h"

namespace dormouse::gateway {

enum class Place : std::uint8_t {
  root,
  api,
  native,
  beneath,  // Of a function, behind its name or on its host.
  metrics,
  kserve_server,
  kserve_live,
  kserve_ready,
  kserve_model,
  kserve_model_ready,
  kserve_infer,
  lambda_invoke,
  lambda_stream,
  lambda_api,
  openai_models,
  openai_model,
  openai_call,
  openai_nowhere,
  nowhere,
};

struct Route {
  Place place = Place::nowhere;
  std::string name;          // Of a function, where there is one; of OpenAI's operation.
  std::string version;       // KServe's: a revision's number; "" if not given.
  std::string target;        // Beneath: the function's own, as it came: "/any/p%61th?query".
  std::string prefix;        // Beneath: what stood before it, "/f/name"; empty on its host.
  std::string_view methods;  // Those that are allowed: "POST", or "GET, HEAD".
};

Route route(const http::Head&);
// Whose words anything at a path is said in, if only of a place where nothing is.
Place dialect_of(std::string_view path);
bool speaks_kserve(Place);
bool speaks_lambda(Place);
bool speaks_openai(Place);
bool allows(const Route&, std::string_view method);

}  // namespace dormouse::gateway
