#include "control/lambda_functions.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <utility>

#include "base/utf8.h"
#include "control/manifest.h"
#include "control/quantities.h"
#include "gateway/lambda.h"
#include "sandbox/sandbox.h"

namespace dormouse::control {
namespace {

using catalog::Manifest;

constexpr std::string_view tag_label = "aws.tag.";

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

// ---- one reader for each field ----

// The manifest as JSON, which is read as one of dormouse.yaml in the end, and what is beside it.
struct Draft {
  json::object manifest;
  LambdaChange change;
  std::string log_group = {};  // Checked when the name is known.
};
constexpr const char* handler_label = "aws.handler";

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

Result<> read_runtime(const json::value& value, Draft& draft) {
  constexpr std::pair<std::string_view, std::string_view> known[] = {
      {"python3.", "python"}, {"nodejs", "node"}, {"provided", "executable"}};
  constexpr std::size_t bytes_max = 60;
  const auto read = text(value, bytes_max);
  if (!read) return read.error();
  for (const auto& [prefix, runtime] : known) {
    if (!read->starts_with(prefix)) continue;
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

Result<> read_tags(const json::value& value, Draft& draft) {
  if (!value.is_object()) return refused("not a map of texts");
  for (const auto& [key, entry] : value.get_object()) {
    const std::string label = std::string(tag_label) + std::string(key);
    if (auto read = read_label(entry, draft, label); !read) return read;
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

#if defined(__aarch64__)
constexpr const char* architecture = "arm64";
#else
constexpr const char* architecture = "x86_64";
#endif

Result<> read_architectures(const json::value& value, Draft&) {
  return must_be(value, json::array{architecture});
}

json::object ephemeral_storage() {
  return {{"Size", sandbox::Limits().tmp_bytes_max >> 20}};
}

Result<> read_storage(const json::value& value, Draft&) {
  if (must_be(value, ephemeral_storage())) return ok;
  return refused("/tmp has " + json::serialize(ephemeral_storage().at("Size")) +
                 " MiB here, in memory; leave it out");
}

// As the variable AWS_LAMBDA_LOG_GROUP_NAME says it.
std::string log_group(std::string_view function) {
  return "/dormouse/" + std::string(function);
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

json::object snap_start(const catalog::Revision& revision) {
  const auto saved = revision.load_options.find("snapshot");
  const bool is_saved = saved != revision.load_options.end() && saved->second == "yes";
  const bool is_on = revision.manifest.snapshot == catalog::snapshot_on;
  return {{"ApplyOn", is_on ? "PublishedVersions" : "None"},
          {"OptimizationStatus", is_on && is_saved ? "On" : "Off"}};
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
constexpr Field revision_fields[] = {{"RevisionId", read_revision_id}};

Result<> read_fields(const json::value& body, std::span<const std::span<const Field>> tables,
                     Draft& draft) {
  if (!body.is_object()) return refused("the body is not a JSON object");
  for (const auto& [key, value] : body.get_object()) {
    const std::string_view name(key.data(), key.size());
    // An empty Environment or Description takes away what there was.
    const bool clears = name == "Environment" || name == "Description";
    if (is_empty(value) && !clears) continue;
    if (value.is_null()) continue;
    const Field* found = nullptr;
    for (const auto table : tables) {
      const auto at = std::ranges::find(table, name, &Field::name);
      if (at != table.end()) found = &*at;
    }
    if (found == nullptr)
      return refused(std::string(name) + " is not to be had here; leave it out");
    if (auto read = found->read(value, draft); !read) return std::move(read).error().during(name);
  }
  return ok;
}

Result<LambdaChange> completed(Draft draft) {
  auto manifest = read_manifest(draft.manifest);
  if (!manifest) return std::move(manifest).error();
  if (!draft.log_group.empty() && draft.log_group != log_group(manifest->name)) {
    return refused("LoggingConfig: LogGroup: only \"" + log_group(manifest->name) +
                   "\" is to be had here");
  }
  draft.change.manifest = *std::move(manifest);
  return std::move(draft.change);
}

Draft draft_of(const Manifest& before) {
  Draft draft{.manifest = manifest_json(before), .change = {}};
  draft.change.name = before.name;
  // Where a program's handler was kept before it had a field.
  const auto kept = before.labels.find(handler_label);
  if (kept != before.labels.end()) {
    if (before.handler.empty()) draft.manifest["handler"] = kept->second;
    labels_of(draft).erase(handler_label);
  }
  return draft;
}

// ---- and how it is shown ----

// Labels are anybody's: 0 if it is none.
std::int64_t number_in(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failed == std::errc() && end == text.data() + text.size() ? number : 0;
}

std::string label(const Manifest& manifest, const std::string& name, std::string otherwise = "") {
  const auto found = manifest.labels.find(name);
  return found == manifest.labels.end() ? std::move(otherwise) : found->second;
}

// Of what was not deployed as a zip, the digest of all of it.
std::string code_sha256(const catalog::Revision& revision) {
  std::string bytes;
  const std::string_view digits = revision.digest.hex();
  const auto value = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes += static_cast<char>(value(digits[i]) * 16 + value(digits[i + 1]));
  }
  return label(revision.manifest, "aws.code-sha256", gateway::base64(bytes));
}

std::int64_t code_bytes(const catalog::Revision& revision) {
  std::uint64_t bytes = 0;
  for (const catalog::File& file : revision.files) bytes += file.size;
  return static_cast<std::int64_t>(bytes);
}

json::object environment(const Manifest& manifest) {
  json::object variables;
  for (const auto& [variable, value] : manifest.env) variables[variable] = value;
  for (const auto& [variable, use] : manifest.secrets) {
    variables[variable] = std::string(secret_reference) + use.secret;
  }
  return {{"Variables", std::move(variables)}};
}

// "2026-11-26T18:45:34.123+0000"
std::string modified(WallTime time) {
  std::string text = time_text(time);
  if (text.ends_with('Z')) text.pop_back();
  return text + "+0000";
}

}  // namespace

Result<LambdaChange> read_create_function(const json::value& body) {
  // AWS's own defaults.
  Draft draft{.manifest = {{"timeout", "3s"}, {"memory", "128MiB"}}, .change = {}};
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

void note_zip(Manifest& manifest, const ZipFacts& facts) {
  manifest.labels["aws.code-sha256"] = facts.sha256;
  manifest.labels["aws.code-bytes"] = std::to_string(facts.bytes);
}

std::string lambda_revision_id(const catalog::Revision& revision) {
  std::string id(revision.digest.hex().substr(0, 32));
  for (const std::size_t at : {20, 16, 12, 8}) id.insert(at, "-");
  return id;
}

json::object lambda_tags(const Manifest& manifest) {
  json::object tags;
  for (const auto& [name, value] : manifest.labels) {
    if (name.starts_with(tag_label)) tags[name.substr(tag_label.size())] = value;
  }
  return tags;
}

json::object lambda_configuration(const catalog::Revision& revision, const LambdaView& view) {
  const Manifest& manifest = revision.manifest;
  std::string arn =
      "arn:aws:lambda:" + std::string(view.region) + ":000000000000:function:" + manifest.name;
  if (view.version != "$LATEST") arn += ":" + std::string(view.version);
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(manifest.timeout).count();
  const std::int64_t bytes = number_in(label(manifest, "aws.code-bytes"));
  json::object shown{
      {"FunctionName", manifest.name},
      {"FunctionArn", std::move(arn)},
      {"Runtime", label(manifest, "aws.runtime", manifest.runtime)},
      {"Role", label(manifest, "aws.role")},
      {"Handler", label(manifest, handler_label, manifest.handler)},
      {"CodeSize", bytes > 0 ? bytes : code_bytes(revision)},
      {"Description", label(manifest, "aws.description")},
      {"Timeout", seconds},
      {"MemorySize", manifest.resources.memory_bytes >> 20},
      {"LastModified", modified(revision.created)},
      {"CodeSha256", code_sha256(revision)},
      {"Version", view.version},
      {"Environment", environment(manifest)},
      {"TracingConfig", {{"Mode", "PassThrough"}}},
      {"EphemeralStorage", ephemeral_storage()},
      {"LoggingConfig", {{"LogFormat", "Text"}, {"LogGroup", log_group(manifest.name)}}},
      {"SnapStart", snap_start(revision)},
      {"RevisionId", lambda_revision_id(revision)},
      {"State", "Active"},
      {"LastUpdateStatus", view.changing ? "InProgress" : "Successful"},
      {"PackageType", "Zip"},
      {"Architectures", json::array{architecture}}};
  const auto slow = revision.notes.find("timeout");
  if (slow != revision.notes.end()) {
    shown["LastUpdateStatusReason"] = "Timeout: " + valid_utf8(slow->second);
  }
  return shown;
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
