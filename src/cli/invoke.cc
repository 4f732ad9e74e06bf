#include <boost/json.hpp>
#include <iostream>
#include <iterator>
#include <memory>

#include "cli/api.h"
#include "cli/commands.h"
#include "cli/receipt.h"
#include "cli/request_body.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string name, text, file, type;
  bool receipt = false;
};

Result<RequestBody> body_of(Shell* shell, const Options& options) {
  if (options.file.empty()) return body_of_text(options.text);
  if (options.file != "-") return body_of_file(options.file);
  return body_of_text(
      std::string(std::istreambuf_iterator<char>(*shell->in), std::istreambuf_iterator<char>()));
}

void print_receipt(Shell* shell, Api& api, const http::ClientResponse& response) {
  const auto id = response.fields.find("Dormouse-Invocation");
  if (!id) return;
  const auto answer = api.get("/api/v1/invocations/" + escaped(*id));
  *shell->err << (answer ? receipts_text(*answer) : answer.error().message + "\n");
}

Exit invoke(Shell* shell, const Options& options) {
  const auto body = body_of(shell, options);
  if (!body) return shell->fail_usage(body.error().message);
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/f/" + escaped(options.name);
  request.fields.add("Content-Type", options.type.empty() ? body->type : options.type);
  request.body = body->bytes;
  // Longer than any function may take: the node's own deadline ends it.
  request.timeout = std::chrono::hours(25);
  Api api(shell);
  const auto response = api.send(request);
  if (!response) return shell->fail(response.error());
  const Exit exit = response->status < 400 ? Exit::ok : shell->fail(error_of(*response));
  if (exit == Exit::ok || shell->json) *shell->out << response->body << std::flush;
  if (options.receipt) {
    // On a screen, it begins on a line of its own; the answer stays as it came.
    if (!response->body.empty() && !response->body.ends_with('\n')) *shell->err << "\n";
    print_receipt(shell, api, *response);
  }
  return exit;
}

}  // namespace

void add_invoke(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("invoke", "Calls a function, and prints its answer");
  command->add_option("NAME", options->name, "The function")->required();
  CLI::Option* text = command->add_option("DATA,-d,--data", options->text, "What to send");
  command->add_option("-f,--file", options->file, "A file to send; - is standard input")
      ->excludes(text);
  command->add_option("-t,--content-type", options->type,
                      "What it is; found out from the file's name or the text, if left out");
  command->add_flag("--receipt", options->receipt,
                    "Prints what the call used and cost, on standard error");
  command->footer(
      "Examples:\n"
      "  dormouse invoke read-text-line --file line.png --receipt\n"
      "  dormouse invoke my-model '{\"x\": [[1, 2, 3]]}'");
  command->callback([=] { shell->exit = invoke(shell, *options); });
}

}  // namespace dormouse::cli
