#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <map>
#include <memory>

#include "cli/answers.h"
#include "cli/api.h"
#include "cli/bundle.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/print.h"
#include "cli/steps.h"

namespace dormouse::cli {
namespace {

struct Options {
  std::string what, name;
};

struct Upload {
  const LocalFile* file;
  Digest digest;
};

constexpr std::uint64_t chunk_bytes = 8 << 20;

Result<std::vector<Digest>> hash_all(const std::vector<LocalFile>& files, Steps& steps) {
  std::uint64_t all = 0, done = 0;
  for (const LocalFile& file : files) all += file.size;
  std::vector<Digest> digests;
  for (const LocalFile& file : files) {
    auto digest =
        digest_of(file, [&](std::uint64_t bytes) { steps.advance("reading", done += bytes, all); });
    if (!digest) return digest.error();
    digests.push_back(std::move(*digest));
  }
  return digests;
}

// The digests that the node lacks, and how much of each it has.
Result<std::map<std::string, std::uint64_t>> ask_missing(Api& api,
                                                         const std::vector<Digest>& digests) {
  json::array texts;
  for (const Digest& digest : digests) texts.push_back(json::string(digest.text()));
  const auto answer =
      api.post("/api/v1/blobs/missing", json::object{{"digests", std::move(texts)}});
  if (!answer) return answer.error();
  std::map<std::string, std::uint64_t> missing;
  for (const json::value& entry : list_at(*answer, "missing")) {
    missing[text_at(entry, "digest")] = static_cast<std::uint64_t>(count_at(entry, "uploaded"));
  }
  return missing;
}

// Sends a file from where its upload stands. After a connection that broke, or another client that
// sends the same file, it asks again where that is.
Result<> upload(Api& api, const Upload& what, std::uint64_t offset, Steps& steps) {
  constexpr int attempts_max = 5;
  int failed = 0;
  for (bool last = false; !last;) {
    const std::uint64_t size = std::min(chunk_bytes, what.file->size - offset);
    const auto chunk = read_part(*what.file, offset, size);
    if (!chunk) return chunk.error();
    last = offset + size == what.file->size;
    const auto answer =
        api.put("/api/v1/blobs/" + what.digest.text() + "?offset=" + std::to_string(offset) +
                    (last ? "&last=true" : ""),
                *chunk);
    if (answer) {
      offset += size;
      steps.advance("sending " + what.file->path, offset, what.file->size);
      continue;
    }
    const bool resumable =
        answer.error().code == Code::conflict || answer.error().code == Code::unavailable;
    if (!resumable || ++failed == attempts_max) return answer.error();
    const auto missing = ask_missing(api, {what.digest});
    if (!missing) return missing.error();
    if (!missing->contains(what.digest.text())) return ok;  // Somebody else has sent it.
    offset = std::min(missing->at(what.digest.text()), what.file->size);
    last = false;
  }
  return ok;
}

Result<> upload_missing(Api& api, const Bundle& bundle, const std::vector<Digest>& digests,
                        Steps& steps) {
  auto missing = ask_missing(api, digests);
  if (!missing) return missing.error();
  if (missing->empty()) steps.say("the node has every file already");
  for (std::size_t i = 0; i < bundle.files.size(); ++i) {
    const auto found = missing->find(digests[i].text());
    if (found == missing->end()) continue;
    auto sent = upload(api, {&bundle.files[i], digests[i]}, found->second, steps);
    if (!sent) return std::move(sent).error().during("sending " + bundle.files[i].path);
    missing->erase(found);  // The same content under another path goes once.
  }
  return ok;
}

// Gives the last line of the deploy's stream: the revision.
Result<json::value> start(Api& api, const Bundle& bundle, const std::vector<Digest>& digests,
                          Steps& steps) {
  json::array files;
  for (std::size_t i = 0; i < bundle.files.size(); ++i) {
    files.push_back(json::object{{"path", bundle.files[i].path},
                                 {"digest", digests[i].text()},
                                 {"size", bundle.files[i].size}});
  }
  const json::object body{{"manifest", bundle.manifest}, {"files", std::move(files)}};
  json::value last;
  const auto line = [&](const json::value& value) {
    if (const json::value* progress = at(value, "progress")) {
      steps.say(progress->is_string() ? std::string(progress->get_string()) : "");
    } else {
      last = value;
    }
    return true;
  };
  const std::string target = "/api/v1/functions/" + escaped(bundle.name) + "/revisions";
  const auto done = api.stream("POST", target, json::serialize(body), line);
  if (!done) return done.error();
  if (at(last, "error") != nullptr) return error_of({500, {}, json::serialize(last)});
  if (at(last, "revision") == nullptr) {
    return Error{Code::unavailable, "the daemon went away; `dormouse revisions " + bundle.name +
                                        "` tells whether the deploy was done"};
  }
  return last;
}

// curl's arguments for a request that this function may understand.
std::string request_for(const json::value& last) {
  const std::string runtime = text_at(last, "revision.manifest.runtime");
  if (runtime == "web") return " ";
  if (!text_at(last, "revision.manifest.task").empty()) {
    return " -H 'Content-Type: image/png' --data-binary @picture.png ";
  }
  const bool code = runtime == "python" || runtime == "node" || runtime == "executable";
  return " -H 'Content-Type: application/json' --data " +
         std::string(code ? R"('{"name": "you"}' )" : "@request.json ");
}

void print(Shell* shell, const std::string& name, const json::value& last) {
  const std::string url = shell->url + "/f/" + name;
  if (shell->json) {
    json::value whole = last;
    whole.as_object()["url"] = url;
    *shell->out << json::serialize(whole) << "\n";
    return;
  }
  const std::string label = text_at(last, "revision.label");
  const std::string key = shell->key.empty() ? "" : " -H \"x-api-key: $DORMOUSE_KEY\"";
  *shell->out << label << (flag_at(last, "unchanged") ? " serves already" : " serves") << "\n"
              << url << "\n\nTry it:\n  curl" << key << request_for(last) << url
              << (text_at(last, "revision.manifest.runtime") == "web" ? "/" : "") << "\n";
}

Exit deploy(Shell* shell, const Options& options) {
  const auto bundle = bundle_of(options.what, options.name);
  if (!bundle) {
    *shell->err << "dormouse: " << harmless(bundle.error().message) << "\n";
    return Exit::usage;
  }
  Steps steps(shell);
  Api api(shell);
  const auto digests = hash_all(bundle->files, steps);
  if (!digests) return shell->fail(digests.error());
  if (auto sent = upload_missing(api, *bundle, *digests, steps); !sent) {
    return shell->fail(sent.error());
  }
  const auto last = start(api, *bundle, *digests, steps);
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
                   "An .onnx file, a .py file, a folder with a dormouse.yaml, or such a folder as "
                   "a .zip")
      ->required();
  command->add_option("--name", options->name, "What to call the function");
  command->footer(
      "Examples:\n"
      "  dormouse deploy model.onnx --name my-model\n"
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
