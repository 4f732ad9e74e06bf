#include "control/secret_uses.h"

#include <algorithm>
#include <boost/json.hpp>

#include "control/manifest.h"
#include "control/quantities.h"
#include "secrets/secrets.h"

namespace dormouse::control {
namespace {

constexpr std::size_t uses_max = 256;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

Result<catalog::When> read_when(const json::value& value) {
  if (value.is_string() && value.get_string() == "late") return catalog::When::late;
  if (value.is_string() && value.get_string() == "init") return catalog::When::init;
  return refused("neither `late` nor `init`");
}

// What is given is not repeated in errors: it may be the secret itself, put into the wrong place.
Result<catalog::SecretUse> read_use(std::string_view variable, const json::value& value) {
  catalog::SecretUse use{.secret = std::string(variable)};
  if (!value.is_object()) {
    const auto when = read_when(value);
    if (!when) return when.error();
    use.when = *when;
    return use;
  }
  constexpr std::string_view known[] = {"secret", "when"};
  for (const auto& [key, entry] : value.get_object()) {
    if (key == "secret") {
      if (!entry.is_string()) return refused("secret: not the name of one");
      use.secret = std::string(entry.get_string());
    } else if (key == "when") {
      const auto when = read_when(entry);
      if (!when) return Error(when.error()).during("when");
      use.when = *when;
    } else {
      return unknown_name("field", std::string_view(key), known);
    }
  }
  return use;
}

}  // namespace

bool is_variable(std::string_view name) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto good = [&](char c) {
    return (c >= 'a' && c <= 'z') || is_digit(c) || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !name.empty() && name.size() <= 255 && std::ranges::all_of(name, good) &&
         !is_digit(name.front());
}

Result<SecretUses> read_secret_uses(const json::value& value) {
  if (!value.is_object()) return refused("not a map");
  if (value.get_object().size() > uses_max) {
    return refused("more than " + std::to_string(uses_max) + " entries");
  }
  SecretUses uses;
  for (const auto& [key, entry] : value.get_object()) {
    const std::string quoted = "\"" + std::string(key) + "\"";
    if (!is_variable(std::string_view(key))) return refused(quoted + " is not a variable's name");
    auto use = read_use(std::string_view(key), entry);
    if (!use) return std::move(use).error().during(quoted);
    if (!secrets::is_name(use->secret)) {
      return refused(quoted + ": the name of its secret is over 64 bytes, or no name");
    }
    uses.insert_or_assign(std::string(key), std::move(*use));
  }
  return uses;
}

json::object secret_uses_json(const SecretUses& uses) {
  json::object entries;
  for (const auto& [variable, use] : uses) {
    const char* const when = use.when == catalog::When::late ? "late" : "init";
    entries[variable] = json::object{{"secret", use.secret}, {"when", when}};
  }
  return entries;
}

Result<> check_secret_uses(const catalog::Manifest& manifest) {
  if (runs_models(manifest.runtime) && !manifest.secrets.empty()) {
    return refused("secrets: a model of the runtime " + manifest.runtime +
                   " has no code that could read them");
  }
  for (const auto& [variable, _] : manifest.secrets) {
    if (manifest.env.contains(variable)) {
      return refused("secrets: \"" + variable + "\" is in env, too; leave it out of one of them");
    }
  }
  return ok;
}

}  // namespace dormouse::control
