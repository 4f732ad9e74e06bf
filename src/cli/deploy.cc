#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/delivery.h"
#include "cli/example_call.h"
#include "cli/print.h"
#include "cli/steps.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string what, name, runtime;
};

// What a note of the revision warns of.
std::string warning_of(const json::value& revision, const std::string& field) {
  const std::string note = text_at(revision, "notes." + field);
  return note.empty() ? "" : "warning: " + field + ": " + note + "\n";
}

void print(Shell* shell, const std::string& name, const json::value& last) {
  const json::value& revision = last.at("revision");
  const std::string url = url_of(*shell, name, revision);
  if (shell->json) {
    json::value whole = last;
    whole.as_object()["url"] = url;
    *shell->out << json::serialize(whole) << "\n";
    return;
  }
  *shell->out << text_at(revision, "label")
              << (flag_at(last, "unchanged") ? " serves already" : " serves") << "\n"
              << url << "\n"
              << warning_of(revision, "timeout") << warning_of(revision, "memory") << "\n"
              << example_call(*shell, name, revision);
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
                   "An .onnx or .gguf file, a .py file, a folder with one of them or with a "
                   "dormouse.yaml, or such a folder as a .zip")
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
      "Left out are files whose name begins with a dot, and what Python compiles (__pycache__, "
      ".pyc\nbeside its .py). A symbolic link is what it leads to, which must be there as well. "
      "What goes\ninto dormouse.yaml: docs/reference/manifest.md\n\n"
      "Without a dormouse.yaml, a folder or a zip has at its top one lambda_function.py, app.py "
      "or\n"
      "main.py, whose function handler, or lambda_handler, is called; or else one model, a file\n"
      "called .onnx or .gguf. Anything else says what it is in a dormouse.yaml.");
  command->callback([=] { shell->exit = deploy(shell, *options); });
}

}  // namespace dormouse::cli
