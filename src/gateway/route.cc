#include "gateway/route.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"

namespace dormouse::gateway {
namespace {

// What is between the '/'s of a path. All are counted, and as many kept as any route looks at.
class Elements {
 public:
  explicit Elements(std::string_view path) : end_(path.data() + path.size()) {
    for (; path.starts_with('/'); ++count_) {
      path.remove_prefix(1);
      const std::string_view next = path.substr(0, path.find('/'));
      if (count_ < kept_.size()) kept_[count_] = next;
      path.remove_prefix(next.size());
    }
  }

  std::size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  std::string_view operator[](std::size_t at) const { return kept_.at(at); }
  // The element at `at`, and all that follows.
  std::string_view from(std::size_t at) const { return {kept_.at(at).data(), end_}; }

 private:
  std::array<std::string_view, 6> kept_;
  std::size_t count_ = 0;
  const char* end_;
};

constexpr std::string_view reading = "GET, HEAD";

Route of(Place place, std::string_view methods, std::string_view name = {}) {
  return {.place = place, .name = std::string(name), .methods = methods};
}

// "/any/p%61th?query" of "/f/%61pp/any/p%61th?query": a path keeps its encoded '/', so its elements
// are those of the decoded one.
std::string_view behind_name(std::string_view target) {
  return target.substr(target.find('/', target.find('/', 1) + 1));
}

// "app" of "app.localhost:8080", which browsers take to this machine; empty of other hosts. Hosts
// are the same in capitals, and with the root's dot at their end.
std::string name_of_host(std::string_view host) {
  constexpr std::string_view home = ".localhost";
  host = host.substr(0, host.rfind(':'));
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.size() <= home.size()) return {};
  const std::string_view name = host.substr(0, host.size() - home.size());
  if (name.contains('.') || lower(host.substr(name.size())) != home) return {};
  return lower(name);
}

// v2 / models / NAME [/ versions / V] [/ ready | / infer]
Route kserve(const Elements& path) {
  const std::size_t count = path.size();
  if (count == 1) return of(Place::kserve_server, reading);
  if (count == 3 && path[1] == "health") {
    if (path[2] == "live") return of(Place::kserve_live, reading);
    if (path[2] == "ready") return of(Place::kserve_ready, reading);
    return {};
  }
  if (count < 3 || path[1] != "models" || path[2].empty()) return {};
  Route route = of(Place::nowhere, reading, path[2]);
  std::size_t at = 3;
  if (count >= 5 && path[3] == "versions") {
    if (path[4].empty()) return {};
    route.version = path[4];
    at = 5;
  }
  if (count == at) {
    route.place = Place::kserve_model;
  } else if (count == at + 1 && path[at] == "ready") {
    route.place = Place::kserve_model_ready;
  } else if (count == at + 1 && path[at] == "infer") {
    route.place = Place::kserve_infer;
    route.methods = "POST";
  }
  return route;
}

// The first element of AWS Lambda's paths: the day of the version that an operation is of.
bool is_day(std::string_view text) {
  constexpr std::string_view shape = "dddd-dd-dd";
  const auto fits = [](char c, char s) { return s == 'd' ? c >= '0' && c <= '9' : c == s; };
  return std::ranges::equal(text, shape, fits);
}

// 2015-03-31 / functions / NAME / invocations
Route lambda(const Elements& path) {
  const bool of_function = path.size() == 4 && path[1] == "functions" && !path[2].empty();
  if (of_function && path[0] == "2015-03-31" && path[3] == "invocations") {
    return of(Place::lambda_invoke, "POST", path[2]);
  }
  if (of_function && path[0] == "2021-11-15" && path[3] == "response-streaming-invocations") {
    return of(Place::lambda_stream, "POST", path[2]);
  }
  return of(Place::lambda_api, "");
}

// v1 / models [/ NAME], of which '/' may be a part: no function's, but what others call a model. v1
// / chat / completions, v1 / completions, v1 / embeddings
Route openai(const Elements& path) {
  const std::size_t count = path.size();
  if (count == 2 && path[1] == "models") return of(Place::openai_models, reading);
  if (count >= 3 && path[1] == "models" && !path[2].empty()) {
    return of(Place::openai_model, reading, path.from(2));
  }
  const bool is_chat = count == 3 && path[1] == "chat" && path[2] == "completions";
  if (is_chat) return of(Place::openai_call, "POST", "chat.completions");
  const bool is_call = count == 2 && (path[1] == "completions" || path[1] == "embeddings");
  if (is_call) return of(Place::openai_call, "POST", path[1]);
  return of(Place::openai_nowhere, "");
}

}  // namespace

Place dialect_of(std::string_view path) {
  const Elements all(path);
  const std::string_view first = all.empty() ? std::string_view() : all[0];
  if (first == "v1") return Place::openai_nowhere;
  if (first == "v2") return Place::kserve_server;
  return is_day(first) ? Place::lambda_api : Place::nowhere;
}

bool speaks_kserve(Place place) {
  return place >= Place::kserve_server && place <= Place::kserve_infer;
}

bool speaks_openai(Place place) {
  return place >= Place::openai_models && place <= Place::openai_nowhere;
}

bool speaks_lambda(Place place) {
  return place >= Place::lambda_invoke && place <= Place::lambda_api;
}

Route route(const http::Head& head) {
  if (const auto name = name_of_host(head.fields.find("Host").value_or("")); !name.empty()) {
    Route on_host = of(Place::beneath, "", name);
    on_host.target = head.target;
    return on_host;
  }
  const Elements path(head.path);
  if (path.size() == 1 && path[0].empty()) return of(Place::root, reading);
  if (path.empty()) return {};
  if (path[0] == "api" && path.size() > 1) return of(Place::api, "");
  if (path[0] == "metrics" && path.size() == 1) return of(Place::metrics, reading);
  if (path[0] == "f" && path.size() >= 2 && !path[1].empty()) {
    if (path.size() == 2) return of(Place::native, "POST", path[1]);
    Route route = of(Place::beneath, "", path[1]);
    route.prefix = "/f/" + route.name;
    route.target = behind_name(head.target);
    return route;
  }
  if (path[0] == "v2") return kserve(path);
  if (path[0] == "v1") return openai(path);
  if (is_day(path[0])) return lambda(path);
  return {};
}

bool allows(const Route& route, std::string_view method) {
  std::string_view rest = route.methods;
  while (!rest.empty()) {
    const auto comma = rest.find(", ");
    if (rest.substr(0, comma) == method) return true;
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 2);
  }
  return route.place == Place::api || route.place == Place::beneath;
}

}  // namespace dormouse::gateway
