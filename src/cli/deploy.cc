#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/delivery.h"
#include "cli/print.h"
#include "cli/steps.h"
#include "control/manifest.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string what, name, runtime;
};

// Where it is called; of a web function with the slash that relative links of its pages need.
std::string url_of(const std::string& node, const std::string& name, const json::value& last) {
  const bool is_web = text_at(last, "revision.manifest.runtime") == "web";
  return node + "/f/" + name + (is_web ? "/" : "");
}

// curl's arguments for a request that this function may understand, and where it goes. Language
// models are spoken to as OpenAI's clients do.
std::string request_for(const std::string& url, const std::string& name, const json::value& last) {
  const std::string runtime = text_at(last, "revision.manifest.runtime");
  const std::string function = url_of(url, name, last);
  if (runtime == "web") return " " + function;
  if (!text_at(last, "revision.manifest.task").empty()) {
    return " -H 'Content-Type: image/png' --data-binary @picture.png " + function;
  }
  const std::string json = " -H 'Content-Type: application/json' --data ";
  const bool is_language_model = control::runs_language_models(runtime);
  if (is_language_model && text_at(last, "revision.notes.chat template").empty()) {
    return json + R"('{"model": ")" + name + R"(", "input": "Hello"}' )" + url + "/v1/embeddings";
  }
  if (is_language_model) {
    return json + R"('{"model": ")" + name +
           R"(", "messages": [{"role": "user", "content": "Hello"}]}' )" + url +
           "/v1/chat/completions";
  }
  const bool code = runtime == "python" || runtime == "node" || runtime == "executable";
  return json + (code ? R"('{"name": "you"}' )" : "@request.json ") + function;
}

void print(Shell* shell, const std::string& name, const json::value& last) {
  const std::string url = url_of(shell->url, name, last);
  if (shell->json) {
    json::value whole = last;
    whole.as_object()["url"] = url;
    *shell->out << json::serialize(whole) << "\n";
    return;
  }
  const std::string label = text_at(last, "revision.label");
  const std::string slow = text_at(last, "revision.notes.timeout");
  const std::string key = shell->key.empty() ? "" : " -H \"x-api-key: $DORMOUSE_KEY\"";
  *shell->out << label << (flag_at(last, "unchanged") ? " serves already" : " serves") << "\n"
              << url << "\n"
              << (slow.empty() ? "" : "warning: timeout: " + slow + "\n") << "\nTry it:\n  curl"
              << key << request_for(shell->url, name, last) << "\n";
}

Exit deploy(Shell* shell, const Options& options) {
  const auto bundle = bundle_of(options.what, options.name, options.runtime);
  if (!bundle) return shell->fail_here(bundle.error());
  ShownSteps steps(shell);
  Api api(shell);
  Delivery delivery(&api, &steps);
  const auto last = delivery.deliver(*bundle);
  if (!last) return shell->fail(last.error());
  print(shell, bundle->name, *last);
  return Exit::ok;
}

}  // namespace

void add_deploy(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("deploy", "Makes an endpoint of a model or of code");
  command
      ->add_option("WHAT", options->what,
                   "An .onnx or .gguf file, a .py file, a folder with a dormouse.yaml, or such a "
                   "folder as a .zip")
      ->required();
  command->add_option("--name", options->name, "What to call the function");
  command->add_option("--runtime", options->runtime,
                      "Of a file: another runtime than its kind has, as llm-cuda");
  command->footer(
      "Examples:\n"
      "  dormouse deploy model.onnx --name my-model\n"
      "  dormouse deploy model.gguf\n"
      "  dormouse deploy model.gguf --runtime llm-cuda      # on a card of NVIDIA's\n"
      "  dormouse deploy app.py\n"
      "  dormouse deploy code.zip\n"
      "  dormouse deploy examples/read-text-line\n\n"
      "Only what the node lacks is sent; a deploy that was cut off goes on where it was. The new\n"
      "revision serves once it was really started; until then, and if that fails, the old one "
      "does.\n"
      "Files whose name begins with a dot are left out. dormouse.yaml: "
      "docs/reference/manifest.md\n\n"
      "Without a dormouse.yaml, a folder or a zip has one lambda_function.py, app.py or main.py:\n"
      "its function handler, or lambda_handler, is called.");
  command->callback([=] { shell->exit = deploy(shell, *options); });
}

}  // namespace dormouse::cli
