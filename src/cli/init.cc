#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <iostream>
#include <memory>
#include <span>

#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/print.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string kind, folder = ".";
};

struct Template {
  const char* path;
  std::string_view text;  // "@NAME@" stands for the function's name.
  ::mode_t mode = 0644;
};

constexpr Template python[] = {
    {"dormouse.yaml", R"(# Every field, its default and its meaning: docs/reference/manifest.md
name: @NAME@
runtime: python
handler: app.handler
memory: 256MiB
)"},
    {"app.py", R"("""A function that greets.

handler is called with every request: event is its JSON, and what it returns is the answer.
"""

# What is here runs once, when an instance starts. Load models here.


def handler(event, context):
    name = event.get("name", "world") if isinstance(event, dict) else "world"
    print("greeting", name)  # Read it with: dormouse logs @NAME@
    return {"greeting": f"Hello, {name}!", "request": context.aws_request_id}
)"},
};

constexpr Template node[] = {
    {"dormouse.yaml", R"(# Every field, its default and its meaning: docs/reference/manifest.md
name: @NAME@
runtime: node
handler: app.handler
memory: 256MiB
)"},
    {"app.mjs",
     R"(// A function that greets. handler is called with every request: event is its JSON, and what
// it returns is the answer.

// What is here runs once, when an instance starts.

export async function handler(event, context) {
  const name = event?.name ?? "world";
  console.log("greeting", name); // Read it with: dormouse logs @NAME@
  return { greeting: `Hello, ${name}!`, request: context.awsRequestId };
}
)"},
};

constexpr Template web[] = {
    {"dormouse.yaml", R"(# Every field, its default and its meaning: docs/reference/manifest.md
name: @NAME@
runtime: web
command: [python3, -u, server.py]
memory: 256MiB
concurrency: 20
)"},
    {"server.py", R"(# A web server. Any that listens on $PORT will do, in any language.
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"Hello from {os.environ['K_SERVICE']}, path {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# What it prints is read with: dormouse logs @NAME@
ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
)"},
};

constexpr Template executable[] = {
    {"dormouse.yaml", R"(# Every field, its default and its meaning: docs/reference/manifest.md
name: @NAME@
runtime: executable
memory: 64MiB
)"},
    {"bootstrap", R"(#!/bin/sh
# A function in any language: a program that speaks the AWS Lambda Runtime API. It asks for a
# request, which may take as long as nobody calls, answers it, and asks for the next.
set -eu

api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

while true; do
  curl -fsS -D "$folder/head" -o "$folder/request" "$api/next"
  field() { tr -d '\r' <"$folder/head" | awk -v name="$1:" 'tolower($1) == name { print $2 }'; }
  id=$(field lambda-runtime-aws-request-id)
  case $(field content-type) in
    application/json*) sent=$(cat "$folder/request") ;;
    *) sent="\"$(wc -c <"$folder/request") bytes\"" ;;
  esac

  echo "answering $id" >&2 # Read it with: dormouse logs @NAME@
  printf '{"greeting": "Hello!", "request": "%s", "you_sent": %s}' "$id" "${sent:-null}" \
    >"$folder/answer"

  curl -fsS -o /dev/null -H 'Content-Type: application/json' \
    --data-binary "@$folder/answer" "$api/$id/response"
done
)",
     0755},
};

std::span<const Template> templates(const std::string& kind) {
  if (kind == "python") return python;
  if (kind == "node") return node;
  if (kind == "web") return web;
  return executable;
}

std::string filled(std::string_view text, const std::string& name) {
  constexpr std::string_view mark = "@NAME@";
  std::string out;
  for (std::size_t at; (at = text.find(mark)) != text.npos;) {
    out.append(text.substr(0, at)).append(name);
    text.remove_prefix(at + mark.size());
  }
  return out.append(text);
}

// Fails if there is anything of that name.
Result<> write_new(const fs::path& path, std::string_view text, ::mode_t mode) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (file < 0) return system_error(Code::invalid_argument, "writing " + path.string());
  const bool written = ::write(file, text.data(), text.size()) == std::ssize(text);
  const Result<> result =
      written ? Result<>(ok) : system_error(Code::unavailable, "writing " + path.string());
  ::close(file);
  return result;
}

// Looks at all of them first, so that it writes either everything or nothing.
Result<> write_all(std::span<const Template> files, const fs::path& folder,
                   const std::string& name) {
  std::error_code failure;
  for (const Template& file : files) {
    if (fs::exists(fs::symlink_status(folder / file.path, failure))) {
      return Error{Code::conflict, (folder / file.path).string() +
                                       " is there already and would be overwritten; name "
                                       "another folder"};
    }
  }
  fs::create_directories(folder, failure);
  if (failure) {
    return Error{Code::invalid_argument, "making " + folder.string() + ": " + failure.message()};
  }
  for (const Template& file : files) {
    auto done = write_new(folder / file.path, filled(file.text, name), file.mode);
    if (!done) return done;
  }
  return ok;
}

void print(Shell* shell, const Options& options, const std::string& name) {
  const fs::path folder(options.folder);
  json::array written;
  for (const Template& file : templates(options.kind)) {
    const std::string path = (folder / file.path).lexically_normal().string();
    written.push_back(json::string(path));
    if (!shell->json) *shell->out << harmless(path) << "\n";
  }
  if (shell->json) {
    *shell->out << json::serialize(json::object{{"name", name}, {"written", written}}) << "\n";
    return;
  }
  const std::string key = shell->key.empty() ? "" : " -H \"x-api-key: $DORMOUSE_KEY\"";
  const bool is_web = options.kind == "web";
  *shell->out << "\nNext:\n  dormouse deploy " << harmless(shell_word(options.folder)) << "\n  curl"
              << key
              << (is_web ? " "
                         : R"( -H 'Content-Type: application/json' --data '{"name": "you"}' )")
              << shell->url << "/f/" << name << (is_web ? "/" : "") << "\n";
}

Exit init(Shell* shell, const Options& options) {
  const fs::path folder(options.folder);
  std::string name = name_from(fs::absolute(folder / "x").lexically_normal().parent_path());
  if (name.empty()) name = "hello";
  if (auto done = write_all(templates(options.kind), folder, name); !done) {
    return shell->fail_here(done.error(), exit_of(done.error().code));
  }
  print(shell, options, name);
  return Exit::ok;
}

}  // namespace

void add_init(CLI::App& app, Shell* shell) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("init", "Writes a small function to begin with");
  command->add_option("KIND", options->kind, "What it is written in")
      ->required()
      ->check(CLI::IsMember({"python", "node", "web", "executable"}));
  command
      ->add_option("DIR", options->folder,
                   "The folder to write into, made if need be; its name is the function's")
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  dormouse init python hello\n"
      "  dormouse init node hello\n"
      "  dormouse init web hello\n"
      "  dormouse init executable hello\n\n"
      "python and node are a module with a handler(event, context), as AWS Lambda calls one.\n"
      "web is an HTTP server on $PORT, here in Python.\n"
      "executable is a program called bootstrap that speaks the AWS Lambda Runtime API, here a\n"
      "shell script.\n"
      "Nothing that is there is overwritten.");
  command->callback([=] { shell->exit = init(shell, *options); });
}

}  // namespace dormouse::cli
