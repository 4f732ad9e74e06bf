#include "control/lambda_requests.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <utility>

#include "control/lambda_configuration.h"
#include "control/manifest.h"
#include "control/network.h"
#include "control/quantities.h"
#include "gateway/lambda.h"

namespace dormouse::control {
namespace {

using catalog::Manifest;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// Says nothing: null, "", [], {}, and what has only such in it.
bool is_empty(const json::value& value) {
  if (value.is_null()) return true;
  if (value.is_string()) return value.get_string().empty();
  if (value.is_array()) return std::ranges::all_of(value.get_array(), is_empty);
  if (!value.is_object()) return false;
  const auto entry_is_empty = [](const auto& entry) { return is_empty(entry.value()); };
  return std::ranges::all_of(value.get_object(), entry_is_empty);
}

std::string_view text_of(const json::string& string) {
  return {string.data(), string.size()};
}

Result<std::string> text(const json::value& value, std::size_t bytes_max) {
  if (!value.is_string()) return refused("not a text");
  if (value.get_string().size() > bytes_max) {
    return refused("longer than " + std::to_string(bytes_max) + " bytes");
  }
  return std::string(value.get_string());
}

Result<std::int64_t> number(const json::value& value, std::int64_t least, std::int64_t most) {
  if (value.is_int64() && value.get_int64() >= least && value.get_int64() <= most) {
    return value.get_int64();
  }
  return refused("not a whole number from " + std::to_string(least) + " to " +
                 std::to_string(most));
}

// The manifest as JSON, which is read as one of dormouse.yaml in the end, and what is beside it.
struct Draft {
  json::object manifest;
  LambdaChange change;
  std::string log_group = {};  // Checked when the name is known.
};

using Read = Result<> (*)(const json::value&, Draft&);
struct Field {
  std::string_view name;
  Read read;
};

json::object& labels_of(Draft& draft) {
  return draft.manifest.emplace("labels", json::object()).first->value().get_object();
}

Result<> read_label(const json::value& value, Draft& draft, std::string_view label) {
  constexpr std::size_t bytes_max = 2048;
  auto read = text(value, bytes_max);
  if (!read) return read.error();
  labels_of(draft)[label] = *read;
  return ok;
}

Result<> read_name(const json::value& value, Draft& draft) {
  constexpr std::size_t bytes_max = 200;
  const auto read = text(value, bytes_max);
  if (!read) return read.error();
  const auto named = gateway::read_lambda_name(*read, "");
  if (!named) return named.error();
  if (!named->qualifier.empty()) return refused("a qualifier has no place here");
  draft.change.name = named->name;
  draft.manifest["name"] = named->name;
  return ok;
}

// The version that `name` has between the two; 0 if it is none.
int version_in(std::string_view name, std::string_view before, std::string_view after) {
  if (!name.starts_with(before) || !name.ends_with(after)) return 0;
  name.remove_prefix(before.size());
  if (name.size() < after.size()) return 0;
  name.remove_suffix(after.size());
  int version = 0;
  const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), version);
  const bool is_plain = wrong == std::errc() && end == name.data() + name.size() && name[0] != '0';
  return is_plain ? version : 0;
}

// The runtime here that AWS's `name` means; "" if none is.
std::string_view runtime_of(std::string_view name) {
  constexpr int oldest_node = 20;
  if (version_in(name, "python3.", "") > 0) return "python";
  if (version_in(name, "nodejs", ".x") >= oldest_node) return "node";
  return name == "provided.al2" || name == "provided.al2023" ? "executable" : "";
}

Result<> read_runtime(const json::value& value, Draft& draft) {
  constexpr std::size_t bytes_max = 60;
  const auto read = text(value, bytes_max);
  if (!read) return read.error();
  if (const auto runtime = runtime_of(*read); !runtime.empty()) {
    draft.manifest["runtime"] = runtime;
    return read_label(value, draft, "aws.runtime");
  }
  return refused("\"" + *read +
                 "\" is not to be had here; there are python3.x, nodejs20.x and "
                 "later, provided.al2 and provided.al2023");
}

Result<> read_handler(const json::value& value, Draft& draft) {
  constexpr std::size_t bytes_max = 255;
  const auto read = text(value, bytes_max);
  if (!read) return read.error();
  draft.manifest["handler"] = *read;
  return ok;
}

Result<> read_memory(const json::value& value, Draft& draft) {
  constexpr std::int64_t least = 128, most = 10'240;
  const auto read = number(value, least, most);
  if (!read) return read.error();
  draft.manifest["memory"] = *read << 20;
  return ok;
}

Result<> read_timeout(const json::value& value, Draft& draft) {
  constexpr std::int64_t most = 900;
  const auto read = number(value, 1, most);
  if (!read) return read.error();
  draft.manifest["timeout"] = std::to_string(*read) + "s";
  return ok;
}

// What a variable's secret was given when, before: that stays.
json::value use_of(const json::object& before, std::string_view variable, std::string_view name) {
  const json::value* known = before.if_contains(variable);
  const bool is_map = known != nullptr && known->is_object();
  const json::value* of = is_map ? known->get_object().if_contains("secret") : known;
  const bool same = of != nullptr && of->is_string() && (!is_map || of->get_string() == name);
  if (same && (is_map || variable == name)) return *known;
  return json::object{{"secret", name}, {"when", "init"}};
}

Result<> read_environment(const json::value& value, Draft& draft) {
  const json::object none;
  const json::value* variables =
      value.is_object() ? value.get_object().if_contains("Variables") : nullptr;
  const bool others = value.is_object() && value.get_object().size() > 1;
  const bool says_nothing = is_empty(value) && (variables == nullptr || !variables->is_object());
  if (others || (!says_nothing && (variables == nullptr || !variables->is_object()))) {
    return refused("a map with Variables, a map of texts");
  }
  const json::object given = says_nothing ? none : variables->get_object();
  const json::value* uses = draft.manifest.if_contains("secrets");
  const json::object before = uses != nullptr ? uses->get_object() : none;
  json::object env, secrets;
  for (const auto& [key, entry] : given) {
    const std::string_view variable(key.data(), key.size());
    if (!entry.is_string()) return refused("the variable " + std::string(variable) + " is no text");
    const std::string_view content = text_of(entry.get_string());
    if (content.starts_with(secret_reference)) {
      secrets[variable] = use_of(before, variable, content.substr(secret_reference.size()));
    } else {
      env[variable] = content;
    }
  }
  draft.manifest["env"] = std::move(env);
  draft.manifest["secrets"] = std::move(secrets);
  return ok;
}

std::string label_of(std::string_view tag) {
  return std::string(lambda_tag_label) + std::string(tag);
}

Result<> read_network_tag(const json::value& value, Draft& draft) {
  constexpr const char* allowed =
      "; allowed are none, outbound, and HOST:PORT, several with a space between them";
  if (!value.is_string()) return refused(std::string("not a text") + allowed);
  const auto network = read_network_words(text_of(value.get_string()));
  if (!network) return refused(network.error().message + allowed);
  draft.manifest["network"] = network_json(*network);
  return ok;
}

Result<> read_tags(const json::value& value, Draft& draft) {
  if (!value.is_object()) return refused("not a map of texts");
  for (const auto& [key, entry] : value.get_object()) {
    const std::string_view tag(key.data(), key.size());
    Result<> read = tag == lambda_network_tag ? read_network_tag(entry, draft) : ok;
    if (read) read = read_label(entry, draft, label_of(tag));
    if (!read) return std::move(read).error().during(tag);
  }
  return ok;
}

Result<> read_zip(const json::value& value, Draft& draft) {
  if (!value.is_string()) return refused("not a text in base64");
  draft.change.zip = std::string(value.get_string());
  return ok;
}

Result<> read_code(const json::value& value, Draft& draft) {
  if (!value.is_object()) return refused("not a map");
  for (const auto& [key, entry] : value.get_object()) {
    if (key == "ZipFile" || is_empty(entry)) continue;
    return refused(std::string(key) + " is not to be had here; send the zip itself, as ZipFile");
  }
  const json::value* zip = value.get_object().if_contains("ZipFile");
  if (zip == nullptr) return refused("ZipFile is missing");
  return read_zip(*zip, draft);
}

template <bool LambdaChange::* member>
Result<> read_flag(const json::value& value, Draft& draft) {
  if (!value.is_bool()) return refused("neither true nor false");
  draft.change.*member = value.get_bool();
  return ok;
}

Result<> read_revision_id(const json::value& value, Draft& draft) {
  constexpr std::size_t bytes_max = 100;
  auto read = text(value, bytes_max);
  if (!read) return read.error();
  draft.change.revision_id = *std::move(read);
  return ok;
}

// What is here as AWS has it if nothing is said.
Result<> must_be(const json::value& value, const json::value& wanted) {
  if (value == wanted) return ok;
  return refused("only " + json::serialize(wanted) + " is to be had here");
}

Result<> read_architectures(const json::value& value, Draft&) {
  return must_be(value, json::array{lambda_architecture});
}

Result<> read_storage(const json::value& value, Draft&) {
  if (must_be(value, lambda_storage())) return ok;
  return refused("/tmp has " + json::serialize(lambda_storage().at("Size")) +
                 " MiB here, in memory; leave it out");
}

Result<> read_logging(const json::value& value, Draft& draft) {
  if (!value.is_object()) return refused("not a map");
  for (const auto& [key, entry] : value.get_object()) {
    if (is_empty(entry) || (key == "LogFormat" && entry == "Text")) continue;
    if (key != "LogGroup" || !entry.is_string()) {
      return refused(std::string(key) + ": " + json::serialize(entry) +
                     " is not to be had here; there is the LogFormat \"Text\"");
    }
    draft.log_group = entry.get_string();
  }
  return ok;
}

// There it is of published versions alone, as what is not published is not called much; here each
// revision has its snapshot.
Result<> read_snap_start(const json::value& value, Draft& draft) {
  const bool is_on = value == json::value{{"ApplyOn", "PublishedVersions"}};
  if (!is_on && value != json::value{{"ApplyOn", "None"}}) {
    return refused("ApplyOn is PublishedVersions or None");
  }
  draft.manifest["snapshot"] = is_on ? catalog::snapshot_on : catalog::snapshot_auto;
  return ok;
}

constexpr Field configuration_fields[] = {
    {"Runtime", read_runtime},
    {"Role", [](const json::value& v, Draft& d) { return read_label(v, d, "aws.role"); }},
    {"Handler", read_handler},
    {"Description",
     [](const json::value& v, Draft& d) { return read_label(v, d, "aws.description"); }},
    {"Timeout", read_timeout},
    {"MemorySize", read_memory},
    {"Environment", read_environment},
    {"EphemeralStorage", read_storage},
    {"LoggingConfig", read_logging},
    {"TracingConfig",
     [](const json::value& v, Draft&) { return must_be(v, {{"Mode", "PassThrough"}}); }},
    {"SnapStart", read_snap_start},
};
constexpr Field creation_fields[] = {
    {"FunctionName", read_name},
    {"Code", read_code},
    {"PackageType", [](const json::value& v, Draft&) { return must_be(v, "Zip"); }},
    {"Publish", read_flag<&LambdaChange::publish>},
    {"Architectures", read_architectures},
    {"Tags", read_tags},
};
constexpr Field code_fields[] = {
    {"ZipFile", read_zip},
    {"Publish", read_flag<&LambdaChange::publish>},
    {"DryRun", read_flag<&LambdaChange::dry_run>},
    {"RevisionId", read_revision_id},
    {"Architectures", read_architectures},
};
constexpr Field tag_fields[] = {{"Tags", read_tags}};
constexpr Field revision_fields[] = {{"RevisionId", read_revision_id}};

Result<> read_fields(const json::value& body, std::span<const std::span<const Field>> tables,
                     Draft& draft) {
  if (!body.is_object()) return refused("the body is not a JSON object");
  for (const auto& [key, value] : body.get_object()) {
    const std::string_view name(key.data(), key.size());
    const Field* found = nullptr;
    for (const auto table : tables) {
      const auto at = std::ranges::find(table, name, &Field::name);
      if (at != table.end()) found = &*at;
    }
    // An empty Environment or Description takes away what there was, and a tag may be empty.
    const bool is_tags = found != nullptr && name == "Tags";
    const bool says = name == "Environment" || name == "Description" || is_tags;
    if (value.is_null() || (is_empty(value) && !says)) continue;
    if (found == nullptr)
      return refused(std::string(name) + " is not to be had here; leave it out");
    if (auto read = found->read(value, draft); !read) return std::move(read).error().during(name);
  }
  return ok;
}

Result<LambdaChange> completed(Draft draft) {
  auto manifest = read_manifest(draft.manifest);
  if (!manifest) return std::move(manifest).error();
  if (!draft.log_group.empty() && draft.log_group != lambda_log_group(manifest->name)) {
    return refused("LoggingConfig: LogGroup: only \"" + lambda_log_group(manifest->name) +
                   "\" is to be had here");
  }
  draft.change.manifest = *std::move(manifest);
  return std::move(draft.change);
}

Draft draft_of(const Manifest& before) {
  Draft draft{.manifest = manifest_json(before), .change = {}};
  draft.change.name = before.name;
  // Where a program's handler was kept before it had a field.
  const auto kept = before.labels.find(lambda_handler_label);
  if (kept != before.labels.end()) {
    if (before.handler.empty()) draft.manifest["handler"] = kept->second;
    labels_of(draft).erase(lambda_handler_label);
  }
  return draft;
}

}  // namespace

Result<LambdaChange> read_create_function(const json::value& body,
                                          const catalog::Network& otherwise) {
  // AWS's own defaults, and the node's.
  Draft draft{
      .manifest = {{"timeout", "3s"}, {"memory", "128MiB"}, {"network", network_json(otherwise)}},
      .change = {}};
  const std::span<const Field> tables[] = {creation_fields, configuration_fields};
  if (auto read = read_fields(body, tables, draft); !read) return read.error();
  if (draft.change.name.empty()) return refused("FunctionName is missing");
  if (!draft.manifest.contains("runtime")) return refused("Runtime is missing");
  if (!draft.change.zip) return refused("Code is missing");
  return completed(std::move(draft));
}

Result<LambdaChange> read_update_code(const json::value& body, const Manifest& before) {
  Draft draft = draft_of(before);
  const std::span<const Field> tables[] = {code_fields};
  if (auto read = read_fields(body, tables, draft); !read) return read.error();
  if (!draft.change.zip) return refused("ZipFile is missing");
  return completed(std::move(draft));
}

Result<LambdaChange> read_update_configuration(const json::value& body, const Manifest& before) {
  Draft draft = draft_of(before);
  const std::span<const Field> tables[] = {configuration_fields, revision_fields};
  if (auto read = read_fields(body, tables, draft); !read) return read.error();
  return completed(std::move(draft));
}

Result<LambdaChange> read_tag_resource(const json::value& body, const Manifest& before) {
  Draft draft = draft_of(before);
  const std::span<const Field> tables[] = {tag_fields};
  if (auto read = read_fields(body, tables, draft); !read) return read.error();
  const json::value* const tags = body.get_object().if_contains("Tags");
  if (tags == nullptr || tags->is_null()) return refused("Tags is missing");
  return completed(std::move(draft));
}

Result<LambdaChange> read_untag_resource(std::span<const std::string> tags, const Manifest& before,
                                         const catalog::Network& otherwise) {
  if (tags.empty()) return refused("tagKeys is missing");
  Draft draft = draft_of(before);
  for (const std::string& tag : tags) {
    const bool was_there = labels_of(draft).erase(label_of(tag)) > 0;
    if (was_there && tag == lambda_network_tag) draft.manifest["network"] = network_json(otherwise);
  }
  return completed(std::move(draft));
}

void note_zip(Manifest& manifest, const ZipFacts& facts) {
  manifest.labels["aws.code-sha256"] = facts.sha256;
  manifest.labels["aws.code-bytes"] = std::to_string(facts.bytes);
}

Result<> check_publish(const json::value& body, const catalog::Revision& active) {
  const json::object* fields = body.if_object();
  if (fields == nullptr) return refused("the body is not a JSON object");
  const json::object shown = lambda_configuration(active, {.version = "$LATEST", .region = ""});
  for (const auto& [key, value] : *fields) {
    const bool is_same = shown.contains(key) && shown.at(key) == value;
    if (key == "CodeSha256" || key == "RevisionId") {
      if (is_same) continue;
      return Error{Code::conflict, std::string(key) + ": the function has another"};
    }
    if (is_empty(value) || (key == "Description" && is_same)) continue;
    if (key == "Description") {
      return refused(
          "Description: a version is described as its function was when it was deployed; leave it "
          "out, or say it by UpdateFunctionConfiguration first");
    }
    return refused(std::string(key) + " is not to be had here; leave it out");
  }
  return ok;
}

}  // namespace dormouse::control
