#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "cli/api.h"
#include "cli/commands.h"
#include "cli/receipt.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string name, text, file, type;
  bool receipt = false;
};

std::string type_of_file(const std::string& path) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> types{{
      {".json", "application/json"},
      {".npy", "application/x-npy"},
      {".png", "image/png"},
      {".jpg", "image/jpeg"},
      {".jpeg", "image/jpeg"},
      {".webp", "image/webp"},
      {".txt", "text/plain; charset=utf-8"},
      {".csv", "text/csv"},
  }};
  const std::string extension = std::filesystem::path(path).extension();
  const auto found = std::ranges::find(types, extension, [](const auto& row) { return row.first; });
  return std::string(found == types.end() ? "application/octet-stream" : found->second);
}

Result<std::string> body_of(Shell* shell, const Options& options) {
  if (options.file.empty()) return options.text;
  if (options.file == "-") {
    return std::string(std::istreambuf_iterator<char>(*shell->in),
                       std::istreambuf_iterator<char>());
  }
  std::ifstream file(options.file, std::ios::binary);
  if (!file) return system_error(Code::not_found, "opening " + options.file);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

std::string type_of(const Options& options, const std::string& body) {
  if (!options.type.empty()) return options.type;
  if (!options.file.empty() && options.file != "-") return type_of_file(options.file);
  return gateway::parse_json(body) ? "application/json" : "text/plain; charset=utf-8";
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
  request.fields.add("Content-Type", type_of(options, *body));
  request.body = *body;
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
  CLI::Option* text = command->add_option("-d,--data", options->text, "What to send");
  command->add_option("-f,--file", options->file, "A file to send; - is standard input")
      ->excludes(text);
  command->add_option("-t,--content-type", options->type,
                      "What it is; found out from the file's name or the text, if left out");
  command->add_flag("--receipt", options->receipt,
                    "Prints what the call used and cost, on standard error");
  command->footer(
      "Examples:\n"
      "  dormouse invoke read-text-line --file line.png --receipt\n"
      "  dormouse invoke my-model --data '{\"x\": [[1, 2, 3]]}'");
  command->callback([=] { shell->exit = invoke(shell, *options); });
}

}  // namespace dormouse::cli
