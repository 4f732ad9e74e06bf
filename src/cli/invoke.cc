#include <boost/json.hpp>
#include <iostream>
#include <iterator>
#include <memory>
#include <utility>

#include "cli/api.h"
#include "cli/commands.h"
#include "cli/print.h"
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

void print_receipt(Shell* shell, Api& api, const http::Fields& fields) {
  const auto id = fields.find("Dormouse-Invocation");
  if (!id) return;
  const auto answer = api.get("/api/v1/invocations/" + escaped(*id));
  *shell->err << (answer ? receipts_text(*answer) : answer.error().message + "\n");
}

// The answer as it comes. What a refusal says is kept for the message; with --json it is the
// answer.
class Printed {
 public:
  explicit Printed(Shell* shell) : shell_(shell) {}

  bool add(const http::ClientResponse& head, std::string_view bytes) {
    constexpr std::size_t refusal_bytes_max = 16 << 20;
    fields_ = head.fields;
    if (head.status < 400 || shell_->json) {
      *shell_->out << bytes << std::flush;
      is_open_ = !bytes.ends_with('\n');
    }
    if (head.status >= 400) refusal_ += bytes;
    return static_cast<bool>(*shell_->out) && refusal_.size() <= refusal_bytes_max;
  }

  // On a screen, what comes after it begins on a line of its own; the answer stays as it came.
  void end_line() {
    if (std::exchange(is_open_, false)) *shell_->err << "\n";
  }
  const http::Fields& fields() const { return fields_; }
  std::string take_refusal() { return std::move(refusal_); }

 private:
  Shell* shell_;
  http::Fields fields_;  // Once there was a part of the answer.
  std::string refusal_;
  bool is_open_ = false;
};

http::ClientRequest request_of(const RequestBody& body, const Options& options) {
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/f/" + escaped(options.name);
  request.fields.add("Content-Type", options.type.empty() ? body.type : options.type);
  request.body = body.bytes;
  // Longer than any function may take: the node's own deadline ends it.
  request.timeout = std::chrono::hours(25);
  return request;
}

// Somebody who means JSON and misspells it should not have to guess why it came as text.
void say_if_misspelled(Shell* shell, const RequestBody& body, const Options& options) {
  const bool is_meant = body.bytes.starts_with('{') || body.bytes.starts_with('[');
  if (!is_meant || !options.type.empty() || !body.type.starts_with("text/plain")) return;
  const auto value = gateway::parse_json(body.bytes);
  if (value) return;
  *shell->err << "dormouse: sent as text, as it is not JSON: " << harmless(value.error().message)
              << "; --content-type says what it is\n";
}

Exit invoke(Shell* shell, const Options& options) {
  const auto body = body_of(shell, options);
  if (!body) return shell->fail_here(body.error());
  say_if_misspelled(shell, *body, options);
  Api api(shell);
  Printed printed(shell);
  auto response = api.send(request_of(*body, options),
                           [&](const auto& head, auto bytes) { return printed.add(head, bytes); });
  const http::Fields& fields = response ? response->fields : printed.fields();
  if (!response || response->status >= 400 || options.receipt) printed.end_line();
  Exit exit = Exit::ok;
  if (!response) {
    exit = shell->fail(response.error());
  } else if (response->status >= 400) {
    response->body = printed.take_refusal();
    exit = shell->fail_answered(error_of(*response));
  }
  if (options.receipt) print_receipt(shell, api, fields);
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
      "  dormouse invoke my-model '{\"x\": [[1, 2, 3]]}'\n\n"
      "A streamed answer is printed as it comes.");
  command->callback([=] { shell->exit = invoke(shell, *options); });
}

}  // namespace dormouse::cli
