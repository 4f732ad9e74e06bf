#include "control/lambda_configuration.h"

#include <boost/json.hpp>
#include <charconv>
#include <utility>

#include "base/utf8.h"
#include "control/quantities.h"
#include "gateway/lambda.h"
#include "sandbox/sandbox.h"

namespace dormouse::control {
namespace {

using catalog::Manifest;

json::object snap_start(const catalog::Revision& revision) {
  const auto saved = revision.load_options.find("snapshot");
  const bool is_saved = saved != revision.load_options.end() && saved->second == "yes";
  const bool is_on = revision.manifest.snapshot == catalog::snapshot_on;
  return {{"ApplyOn", is_on ? "PublishedVersions" : "None"},
          {"OptimizationStatus", is_on && is_saved ? "On" : "Off"}};
}

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

json::object lambda_storage() {
  return {{"Size", sandbox::Limits().tmp_bytes_max >> 20}};
}

std::string lambda_log_group(std::string_view function) {
  return "/dormouse/" + std::string(function);
}

std::string lambda_revision_id(const catalog::Revision& revision) {
  std::string id(revision.digest.hex().substr(0, 32));
  for (const std::size_t at : {20, 16, 12, 8}) id.insert(at, "-");
  return id;
}

json::object lambda_tags(const Manifest& manifest) {
  json::object tags;
  for (const auto& [name, value] : manifest.labels) {
    if (name.starts_with(lambda_tag_label)) tags[name.substr(lambda_tag_label.size())] = value;
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
      {"Handler", label(manifest, lambda_handler_label, manifest.handler)},
      {"CodeSize", bytes > 0 ? bytes : code_bytes(revision)},
      {"Description", label(manifest, "aws.description")},
      {"Timeout", seconds},
      {"MemorySize", manifest.resources.memory_bytes >> 20},
      {"LastModified", modified(revision.created)},
      {"CodeSha256", code_sha256(revision)},
      {"Version", view.version},
      {"Environment", environment(manifest)},
      {"TracingConfig", {{"Mode", "PassThrough"}}},
      {"EphemeralStorage", lambda_storage()},
      {"LoggingConfig", {{"LogFormat", "Text"}, {"LogGroup", lambda_log_group(manifest.name)}}},
      {"SnapStart", snap_start(revision)},
      {"RevisionId", lambda_revision_id(revision)},
      {"State", "Active"},
      {"LastUpdateStatus", view.changing ? "InProgress" : "Successful"},
      {"PackageType", "Zip"},
      {"Architectures", json::array{lambda_architecture}}};
  return shown;
}

}  // namespace dormouse::control
