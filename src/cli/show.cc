#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <iterator>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/example_call.h"
#include "cli/print.h"
#include "control/manifest.h"

namespace dormouse::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// A map within becomes rows of its own: "env.PORT"; a secret's is "secrets.TOKEN  token, late".
void add_map(const json::value* map, const std::string& label, Rows& rows) {
  if (map == nullptr || !map->is_object()) return;
  for (const auto& [name, value] : map->get_object()) {
    if (label == "secrets." && value.is_object()) {
      rows.push_back({harmless(label + std::string(name)),
                      text_at(value, "secret") + ", " + text_at(value, "when")});
      continue;
    }
    if (value.is_object()) {
      add_map(&value, label + std::string(name) + ".", rows);
      continue;
    }
    const bool is_unset = value.is_array() && value.get_array().empty();
    const std::string text =
        value.is_string() ? std::string(value.get_string()) : json::serialize(value);
    if (!text.empty() && !is_unset)
      rows.push_back({harmless(label + std::string(name)), harmless(text)});
  }
}

// What waking took, and where the memory lies.
void add_measured(const json::value& function, Rows& rows) {
  for (const json::value& wake : list_at(function, "wakes")) {
    rows.push_back({"woken from " + text_at(wake, "rung"),
                    readable_ms(number_at(wake, "median_ms")) + ", median of the last; " +
                        readable_count(count_at(wake, "count")) + " in all"});
  }
  if (const auto bytes = count_at(function, "template.anonymous_bytes"); bytes > 0) {
    const auto percent = 100 * count_at(function, "template.huge_page_bytes") / bytes;
    rows.push_back({"template", readable_size(static_cast<std::uint64_t>(bytes)) + ", " +
                                    std::to_string(percent) + " % in huge pages"});
  }
  if (const auto bytes = count_at(function, "instance.own_bytes"); bytes > 0) {
    rows.push_back({"instance", readable_size(static_cast<std::uint64_t>(bytes)) + " of its own"});
  }
}

// Without the sections that are of other runtimes, and have no say here. A runtime that does not
// come with the program may look at any.
json::value settings_of(const json::value& manifest) {
  constexpr std::string_view code[] = {"python", "node", "executable", "web"};
  const std::string runtime = text_at(manifest, "runtime");
  const bool is_code = std::ranges::find(code, runtime) != std::end(code);
  json::value settings = manifest;
  if (!settings.is_object()) return settings;
  if (is_code || runtime == "onnx") settings.get_object().erase("llm");
  if ((is_code && runtime != "python") || control::runs_models(runtime)) {
    settings.get_object().erase("python");
  }
  return settings;
}

Rows facts_of(const json::value& function) {
  Rows rows{
      {"revision", text_at(function, "revision.label")},
      {"deployed", readable_time(text_at(function, "revision.created"))},
      {"state", text_at(function, "summary.state")},
      {"calls", readable_count(count_at(function, "summary.calls"))},
      {"failed", readable_count(count_at(function, "summary.failed"))},
      {"queued", std::to_string(count_at(function, "summary.queued")) +
                     (flag_at(function, "waits_for_memory") ? ", waiting for memory" : "")},
      {"digest", text_at(function, "revision.digest")},
  };
  // 0: it was not called since the daemon started.
  if (const double expected = number_at(function, "wake_expected_ms"); expected > 0) {
    rows.push_back({"wakes in", readable_ms(expected)});
  }
  if (const auto why = text_at(function, "last_start_error"); !why.empty()) {
    rows.push_back({"last start", why});
  }
  add_measured(function, rows);
  for (const json::value& tensor : list_at(function, "revision.inputs")) {
    rows.push_back({"input", text_at(tensor, "name") + "  " + shape_of(tensor)});
  }
  for (const json::value& tensor : list_at(function, "revision.outputs")) {
    rows.push_back({"output", text_at(tensor, "name") + "  " + shape_of(tensor)});
  }
  if (const json::value* manifest = at(function, "revision.manifest")) {
    const json::value settings = settings_of(*manifest);
    add_map(&settings, "", rows);
  }
  add_map(at(function, "revision.notes"), "note: ", rows);
  for (const json::value& file : list_at(function, "revision.files")) {
    const auto size = static_cast<std::uint64_t>(count_at(file, "size"));
    rows.push_back({"file", text_at(file, "path") + "  " + readable_size(size)});
  }
  return rows;
}

Exit show(Shell* shell, const std::string& name) {
  const auto answer = Api(shell).get("/api/v1/functions/" + escaped(name));
  if (!answer) return shell->fail(answer.error());
  if (shell->json) {
    *shell->out << json::serialize(*answer) << "\n";
    return Exit::ok;
  }
  const json::value* function = at(*answer, "function");
  if (function != nullptr) *shell->out << table({name, ""}, facts_of(*function));
  return Exit::ok;
}

}  // namespace

void add_show(CLI::App& app, Shell* shell) {
  auto name = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("show", "One function: its inputs and outputs, its settings, its files");
  command->add_option("NAME", *name, "The function")->required();
  command->footer("Example:\n  dormouse show read-text-line");
  command->callback([=] { shell->exit = show(shell, *name); });
}

}  // namespace dormouse::cli
