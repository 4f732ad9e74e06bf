#include "control/answers.h"

#include <boost/json.hpp>

#include "base/utf8.h"
#include "control/manifest.h"
#include "control/quantities.h"
#include "wire/messages.h"

namespace dormouse::control {
namespace {

double milliseconds(Duration duration) {
  return static_cast<double>(duration.count()) / 1000;
}

std::string_view grade_text(sandbox::Finding::Grade grade) {
  switch (grade) {
    case sandbox::Finding::Grade::good: return "good";
    case sandbox::Finding::Grade::degraded: return "degraded";
    case sandbox::Finding::Grade::missing: return "missing";
  }
  CHECK_UNREACHABLE("every grade has a text");
}

// The shallowest rung that the function is on; asleep only once nothing is left of it, and nobody
// waits for it.
std::string_view state_of(const fleet::Status& status) {
  if (status.busy > 0) return "awake";
  if (status.dozing > 0) return "dozing";
  if (status.starting > 0) return "waking";
  if (status.queued > 0) return "waiting";
  if (status.stopping > 0) return "stopping";
  if (status.has_template) return "template";
  return "asleep";
}

json::array tensors_json(const std::vector<wire::TensorSpec>& specs) {
  json::array all;
  for (const wire::TensorSpec& spec : specs) {
    all.push_back(json::object{{"name", valid_utf8(spec.name)},
                               {"datatype", wire::name(spec.type)},
                               {"shape", json::array(spec.shape.begin(), spec.shape.end())}});
  }
  return all;
}

json::object pages_json(const sandbox::Pages& pages) {
  return {{"anonymous_bytes", pages.anonymous},
          {"huge_page_bytes", pages.huge},
          {"own_bytes", pages.own}};
}

json::object tokens_json(const ledger::Tokens& tokens) {
  return {{"prompt_read", tokens.prompt_read},
          {"prompt_reused", tokens.prompt_reused},
          {"generated", tokens.generated}};
}

json::object file_json(const catalog::File& file) {
  return {{"path", file.path}, {"digest", file.digest.text()}, {"size", file.size}};
}

}  // namespace

json::object finding_json(const sandbox::Finding& finding) {
  return {{"grade", grade_text(finding.grade)},
          {"what", valid_utf8(finding.what)},
          {"cost", valid_utf8(finding.cost)}};
}

json::object summary_json(const catalog::Revision& revision, const fleet::Status& status,
                          const ledger::Sum& sum) {
  return {{"name", revision.manifest.name},
          {"url", "/f/" + revision.manifest.name + (revision.manifest.runtime == "web" ? "/" : "")},
          {"revision", revision.number},
          {"runtime", revision.manifest.runtime},
          {"created", time_text(revision.created)},
          {"state", state_of(status)},
          {"template", status.has_template},
          {"instances", json::object{{"starting", status.starting},
                                     {"busy", status.busy},
                                     {"dozing", status.dozing},
                                     {"stopping", status.stopping}}},
          {"running", status.running},
          {"queued", status.queued},
          {"memory_bytes", status.memory_bytes},
          {"calls", sum.calls},
          {"failed", sum.failed}};
}

json::object detail_json(const catalog::Revision& revision, const fleet::Status& status,
                         const fleet::Details& details, const ledger::Sum& sum) {
  json::array wakes;
  for (const auto& [rung, recent] : details.wakes) {
    wakes.push_back(json::object{{"rung", ledger::name(rung)},
                                 {"count", recent.count()},
                                 {"median_ms", milliseconds(recent.median())}});
  }
  json::object detail = {{"summary", summary_json(revision, status, sum)},
                         {"wakes", std::move(wakes)},
                         {"wake_expected_ms", milliseconds(status.wake_expected)},
                         {"waits_for_memory", status.waits_for_memory},
                         {"last_start_error", valid_utf8(status.last_start_error)},
                         {"revision", revision_json(revision)}};
  if (details.of_template) detail["template"] = pages_json(*details.of_template);
  if (details.of_instance) detail["instance"] = pages_json(*details.of_instance);
  return detail;
}

json::object revision_summary_json(const catalog::Revision& revision, bool active) {
  std::uint64_t bytes = 0;
  for (const catalog::File& file : revision.files) bytes += file.size;
  return {{"number", revision.number},
          {"label", revision.label()},
          {"digest", revision.digest.text()},
          {"created", time_text(revision.created)},
          {"active", active},
          {"files", revision.files.size()},
          {"bytes", bytes}};
}

json::object revision_json(const catalog::Revision& revision) {
  json::array files;
  for (const catalog::File& file : revision.files) files.push_back(file_json(file));
  json::object notes;
  for (const auto& [key, text] : revision.notes) notes[valid_utf8(key)] = valid_utf8(text);
  return {{"number", revision.number},
          {"label", revision.label()},
          {"digest", revision.digest.text()},
          {"created", time_text(revision.created)},
          {"manifest", manifest_json(revision.manifest)},
          {"files", std::move(files)},
          {"notes", std::move(notes)},
          {"inputs", tensors_json(revision.ready.signature.inputs)},
          {"outputs", tensors_json(revision.ready.signature.outputs)}};
}

json::object line_json(const logs::Line& line) {
  return {{"sequence", line.sequence},     {"at", time_text(line.at)},
          {"revision", line.revision},     {"instance", line.instance},
          {"invocation", line.invocation}, {"text", valid_utf8(line.text)}};
}

json::object sum_json(const ledger::Sum& sum) {
  json::object all = {{"function", sum.function}, {"calls", sum.calls},
                      {"failed", sum.failed},     {"billed_ms", sum.billed_ms},
                      {"mib_ms", sum.mib_ms},     {"price", text(sum.price)}};
  if (sum.tokens.any()) all["tokens"] = tokens_json(sum.tokens);
  return all;
}

json::object receipt_json(const ledger::Receipt& receipt, const std::string& currency) {
  const ledger::Begun& begun = receipt.begun;
  json::object all = {{"invocation", begun.key.id.text()},
                      {"attempt", begun.key.attempt},
                      {"function", begun.function},
                      {"revision", begun.revision},
                      {"revision_digest", begun.revision_digest},
                      {"node", begun.node},
                      {"at", time_text(begun.at)},
                      {"outcome", receipt.failure ? name(*receipt.failure) : "answered"},
                      {"interrupted", receipt.interrupted},
                      {"rung", ledger::name(receipt.rung)},
                      {"queue_ms", milliseconds(receipt.queue)},
                      {"wake", json::object{{"sandbox_ms", milliseconds(receipt.wake.sandbox)},
                                            {"code_ms", milliseconds(receipt.wake.code)},
                                            {"load_ms", milliseconds(receipt.wake.load)}}},
                      {"run_ms", milliseconds(receipt.run)},
                      {"billed_ms", receipt.billed_ms},
                      {"declared_memory_bytes", receipt.declared_memory_bytes},
                      {"peak_memory_bytes", receipt.peak_memory_bytes},
                      {"cpu_ms", milliseconds(receipt.cpu)},
                      {"shared", receipt.shared},
                      {"request_bytes", receipt.request_bytes},
                      {"response_bytes", receipt.response_bytes},
                      {"price", text(receipt.price)},
                      {"currency", currency}};
  if (receipt.tokens.any()) all["tokens"] = tokens_json(receipt.tokens);
  return all;
}

json::object conversation_json(const conversations::Entry& entry) {
  return {{"id", entry.key.name},
          {"revision_digest", entry.key.revision.digest},
          {"bytes", entry.bytes},
          {"used", time_text(entry.used)}};
}

json::object secret_json(const secrets::Fact& fact, const std::vector<std::string>& functions) {
  return {{"name", fact.name},
          {"version", fact.version},
          {"set", time_text(fact.set_at)},
          {"functions", json::array(functions.begin(), functions.end())}};
}

json::object fault_json(const Error& error) {
  return {{"code", name(error.code)},
          {"message", valid_utf8(error.message)},
          {"blame", name(blame(error.code))}};
}

}  // namespace dormouse::control
