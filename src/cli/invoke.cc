#include <algorithm>
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
#include "cli/typed_line.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string name, text, file, type, method, path;
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
  if (!answer) {
    *shell->err << "dormouse: " << harmless_lines(answer.error().message) << "\n";
    return;
  }
  *shell->err << (shell->json ? json::serialize(*answer) + "\n" : receipts_text(*answer));
}

// The answer as it comes; one of 400 and above once it is known whose words it has, as dormouse's
// own are for the message. With --json they are the answer, too.
class Printed {
 public:
  explicit Printed(Shell* shell) : shell_(shell) {}

  bool add(const http::ClientResponse& head, std::string_view bytes) {
    constexpr std::size_t refusal_bytes_max = 16 << 20;
    fields_ = head.fields;
    if (head.status < 400 || shell_->json) print(bytes);
    if (head.status >= 400) refusal_ += bytes;
    return static_cast<bool>(*shell_->out) && refusal_.size() <= refusal_bytes_max;
  }
  void print(std::string_view bytes) {
    if (bytes.empty()) return;
    *shell_->out << bytes << std::flush;
    is_open_ = !bytes.ends_with('\n');
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

std::string method_of(const RequestBody& body, const Options& options) {
  if (!options.method.empty()) return options.method;
  return options.path.empty() || !body.bytes.empty() ? "POST" : "GET";
}

http::ClientRequest request_of(const RequestBody& body, const Options& options) {
  http::ClientRequest request;
  request.method = method_of(body, options);
  request.target = "/f/" + escaped(options.name) + options.path;
  const bool is_bare = !options.path.empty() && body.bytes.empty() && options.type.empty();
  if (!is_bare) {
    request.fields.add("Content-Type", options.type.empty() ? body.type : options.type);
  }
  request.body = body.bytes;
  // Longer than any function may take: the node's own deadline ends it.
  request.timeout = std::chrono::hours(25);
  return request;
}

Exit refused(Shell* shell, Printed& printed, http::ClientResponse& response,
             const Options& options) {
  response.body = printed.take_refusal();
  if (is_own_error(response)) {
    printed.end_line();
    return shell->fail_answered(refusal_of(*shell, response));
  }
  if (!shell->json) printed.print(response.body);
  printed.end_line();
  // A web server that is asked for nothing in particular says such things.
  const bool is_method = response.status == 405 || response.status == 501;
  const bool asks = is_method && options.path.empty() && options.method.empty();
  *shell->err << "dormouse: " << options.name << " answered " << response.status
              << (asks ? "; of a web server, --path / asks for a page" : "") << "\n";
  return Exit::failed;
}

// Somebody who means JSON and misspells it, or a file as for curl, should not have to guess why it
// came as text.
void say_if_misspelled(Shell* shell, const RequestBody& body, const Options& options) {
  if (!options.type.empty()) return;
  if (body.bytes.starts_with('@') && options.file.empty()) {
    *shell->err << "dormouse: sent as text; --file " << harmless(body.bytes.substr(1))
                << " sends what is in a file\n";
  }
  const bool is_meant = body.bytes.starts_with('{') || body.bytes.starts_with('[');
  if (!is_meant || !body.type.starts_with("text/plain")) return;
  const auto value = gateway::parse_json(body.bytes);
  if (value) return;
  *shell->err << "dormouse: sent as text, as it is not JSON: " << harmless(value.error().message)
              << "; --content-type says what it is\n";
}

Result<> check_path(const std::string& path) {
  const auto is_plain = [](char c) { return c > ' ' && c <= '~'; };
  if (path.empty()) return ok;
  if (!path.starts_with('/')) {
    return Error{Code::invalid_argument, "a path begins with \"/\", as in --path /"};
  }
  if (std::ranges::all_of(path, is_plain)) return ok;
  return Error{
      Code::invalid_argument,
      "in a path, blanks and what is not ASCII are written by their bytes: /a%20caf%C3%A9"};
}

Exit invoke(Shell* shell, const Options& options) {
  if (auto good = check_path(options.path); !good) return shell->fail_here(good.error());
  const auto body = body_of(shell, options);
  if (!body) return shell->fail_here(body.error());
  say_if_misspelled(shell, *body, options);
  Api api(shell);
  Printed printed(shell);
  auto response = api.send(request_of(*body, options),
                           [&](const auto& head, auto bytes) { return printed.add(head, bytes); });
  const http::Fields& fields = response ? response->fields : printed.fields();
  Exit exit = Exit::ok;
  if (!response) {
    printed.end_line();
    exit = shell->fail(response.error());
  } else if (response->status >= 400) {
    exit = refused(shell, printed, *response, options);
  }
  if (options.receipt) {
    printed.end_line();
    print_receipt(shell, api, fields);
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
  command->add_option("--path", options->path,
                      "Of a web function: the path and query to ask for, as in /users?id=7");
  command
      ->add_option("-X,--method", options->method,
                   "Of a web function; if left out GET with --path and nothing to send, else POST")
      ->transform(CLI::IsMember(std::vector<std::string>(methods.begin(), methods.end()),
                                CLI::ignore_case));
  command->add_flag("--receipt", options->receipt,
                    "Prints what the call used and cost, on standard error; with --json as JSON");
  command->footer(
      "Examples:\n"
      "  dormouse invoke read-text-line --file line.png --receipt\n"
      "  dormouse invoke my-model '{\"x\": [[1, 2, 3]]}'\n"
      "  dormouse invoke my-site --path '/users?id=7'\n"
      "  dormouse invoke my-site --path /users -X PUT '{\"id\": 7}'\n\n"
      "A streamed answer is printed as it comes. An answer of status 400 and above that is the\n"
      "function's own is printed as well; the exit status is then 1.");
  command->callback([=] { shell->exit = invoke(shell, *options); });
}

}  // namespace dormouse::cli
