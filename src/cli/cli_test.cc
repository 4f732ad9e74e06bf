#include "cli/cli.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/files.h"
#include "cli/print.h"
#include "cli/shell.h"
#include "control/fake_world.h"
#include "gateway/errors.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

// Asks the control API of a World, without a network; what is not under /api is a function's.
class WorldClient final : public http::Client {
 public:
  explicit WorldClient(control::World* world) : world_(world) {}

  Result<http::ClientResponse> send(const http::ClientRequest& request) override {
    std::vector<std::pair<std::string, std::string>> fields;
    for (const auto& [name, value] : request.fields.all()) fields.emplace_back(name, value);
    fields.emplace_back("Host", "127.0.0.1:8080");
    if (request.target.starts_with("/f/")) return function_answer(request);
    const auto reply = world_->ask(
        control::request_of(request.method, request.target, std::string(request.body), fields));
    return http::ClientResponse{reply.status, reply.fields, reply.body};
  }
  Result<http::ClientResponse> stream(const http::ClientRequest& request,
                                      const http::Piece& piece) override {
    auto response = send(request);
    // In odd pieces, as a network might.
    const std::string body = std::exchange(response->body, "");
    for (std::string_view rest = body; !rest.empty();) {
      if (!piece(*response, rest.substr(0, 7))) break;
      rest.remove_prefix(std::min<std::size_t>(7, rest.size()));
    }
    if (request.target == "/f/broken") return Error{Code::unavailable, "the answer broke off"};
    return response;
  }

 private:
  static http::ClientResponse function_answer(const http::ClientRequest& request) {
    if (request.target == "/f/site/gone") return {404, {}, "no page here"};
    if (request.target == "/f/site") return {501, {}, R"({"error": {"code": "not_found"}})"};
    if (request.target == "/f/locked") {
      return {401, {}, gateway::error_json({Code::unauthorized, "a key is needed: Authorization"})};
    }
    if (request.target == "/f/site/locked") return {401, {}, "no page for you"};
    if (request.target == "/f/nobody") {
      return {404, {}, gateway::error_json({Code::not_found, "there is no function nobody"})};
    }
    if (request.target.starts_with("/f/site/")) {
      const auto type = request.fields.find("Content-Type");
      return {200,
              {},
              request.method + " " + request.target + " " + std::string(request.body) +
                  (type ? " as " + std::string(*type) : "")};
    }
    http::ClientResponse response{200, {}, std::string(request.body)};
    response.body += " as " + std::string(request.fields.find("Content-Type").value_or(""));
    response.fields.add("Dormouse-Invocation",
                        InvocationId::make({1'700'000'000'000}, {1, 1}).text());
    return response;
  }
  control::World* world_;
};

struct Ran {
  int exit;
  std::string out, err;
};

class Cli : public testing::Test {
 protected:
  Cli() {
    folder = fs::temp_directory_path() / ("dormouse-cli-test-" + std::to_string(::getpid()));
  }
  ~Cli() override { fs::remove_all(folder); }

  Ran run_it(std::vector<std::string> arguments, const std::string& input = "") {
    std::ostringstream out, err;
    std::istringstream in(input);
    Shell shell;
    shell.out = &out;
    shell.err = &err;
    shell.in = &in;
    shell.root = root;
    shell.connect = [this](std::string_view) -> Result<std::unique_ptr<http::Client>> {
      if (down) return Error{Code::unavailable, "connection refused"};
      return std::make_unique<WorldClient>(&world);
    };
    shell.serve = [this](const DaemonConfig& config) -> Result<> {
      served = config;
      return ok;
    };
    const int status = run(&shell, std::move(arguments));
    return {status, out.str(), err.str()};
  }

  std::string write(const std::string& name, const std::string& text) {
    fs::create_directories((folder / name).parent_path());
    std::ofstream(folder / name, std::ios::binary) << text;
    return folder / name;
  }

  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  void expect_in(const std::string& text, std::string_view part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }

  control::World world;
  fs::path folder;
  DaemonConfig served;
  bool down = false;
  bool root = true;
};

TEST_F(Cli, DeploysABareModelAndSaysHowToCallIt) {
  const auto ran = run_it({"deploy", write("My Model_v2.onnx", "bytes")});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_EQ(ran.out.substr(0, ran.out.find("\n\n")),
            "my-model-v2@1 serves\nhttp://127.0.0.1:8080/f/my-model-v2");
  expect_in(ran.out, "curl -H 'Content-Type: application/json' --data @");
  expect_in(ran.err, "sending My Model_v2.onnx");
  expect_in(ran.err, "loading");
  EXPECT_EQ(world.catalog.active("my-model-v2")->manifest.model, "My Model_v2.onnx");
}

TEST_F(Cli, WarnsOfATimeoutThatIsShorterThanStartingIt) {
  world.fleet.start_takes = std::chrono::seconds(31);
  const auto ran = run_it({"deploy", write("model.onnx", "bytes")});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  expect_in(ran.out, "/f/model\nwarning: timeout: shorter than starting it took, 31s: ");
}

TEST_F(Cli, WarnsOfMemoryThatIsTooLittleForAFullContext) {
  world.fleet.memory_note = "too little for long conversations";
  const auto ran = run_it({"deploy", write("model.onnx", "bytes")});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  expect_in(ran.out, "/f/model\nwarning: memory: too little for long conversations\n\nTry it:");
}

TEST_F(Cli, SaysWhichCommandItDoesNotKnow) {
  const auto mistyped = run_it({"--json", "depoly", "model.onnx"});
  EXPECT_EQ(mistyped.exit, 2);
  expect_in(mistyped.err, "unknown command \"depoly\"; did you mean \"deploy\"?");
  const auto inner = run_it({"secret", "frobnicate", "NAME"});
  EXPECT_EQ(inner.exit, 2);
  expect_in(inner.err, "unknown command \"frobnicate\"; known are set, list, rm");
  expect_in(inner.err, "See `dormouse secret --help`.");
  expect_in(run_it({"secret"}).err, "A subcommand is required");
  EXPECT_EQ(run_it({"deploy"}).exit, 2);
}

TEST_F(Cli, DeploysAFolderAndSendsOnlyWhatIsMissing) {
  write("reader/dormouse.yaml",
        "name: reader\nruntime: onnx\nmodel: model.onnx\ntask: text-line\nmemory: 1GiB\n");
  write("reader/model.onnx", "model");
  write("reader/keys/keys.txt", "keys");
  write("reader/empty", "");
  write("reader/.git/config", "not sent");
  write("reader/lib/__pycache__/a.cpython-311.pyc", "not sent");
  write("reader/lib/__pycache__/b.txt", "not sent");
  const std::string path = folder / "reader";
  EXPECT_EQ(run_it({"deploy", path}).exit, 0);
  EXPECT_EQ(world.blobs.whole.size(), 3u);
  EXPECT_EQ(world.catalog.active("reader")->files.size(), 3u);
  const auto again = run_it({"deploy", path});
  expect_in(again.out, "reader@1 serves already");
  expect_in(again.err, "the node has every file already");
  EXPECT_EQ(world.blobs.appends, 3);
}

TEST_F(Cli, DeploysAFolderByItsOneModel) {
  write("models/net.onnx", "model");
  write("models/net.onnx.data", "its weights");
  const auto ran = run_it({"deploy", folder / "models"});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_EQ(world.catalog.active("models")->manifest.model, "net.onnx");
  EXPECT_EQ(world.catalog.active("models")->files.size(), 2u);
  write("models/other.onnx", "model");
  const auto both = run_it({"deploy", folder / "models"});
  EXPECT_EQ(both.exit, 2);
  expect_in(both.err, "or one model (.onnx or .gguf), or one Python file called");
}

// Like `run_it`, with a node that runs code.
class CliOfCode : public Cli {
 protected:
  CliOfCode() {
    for (const char* runtime : {"python", "node", "executable"}) world.fleet.known[runtime] = {};
  }

  // Packs what is in `from`, as people do.
  std::string zip(const std::string& from, const std::string& name) {
    const std::string path = folder / name;
    EXPECT_EQ(std::system(("cd '" + (folder / from).string() + "' && python3 -m zipfile -c '" +
                           path + "' *")
                              .c_str()),
              0);
    return path;
  }

  const catalog::Manifest& manifest(const std::string& name) {
    return world.catalog.active(name)->manifest;
  }
};

TEST_F(CliOfCode, DeploysALanguageModelWithRoomForItsConversations) {
  world.fleet.known["llm"] = {};
  const auto ran = run_it({"deploy", std::string(LLM_TESTDATA) + "/llama.gguf"});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  // Less than a MiB of weights, 2 of context, and the room of all models.
  EXPECT_EQ(manifest("llama").resources.memory_bytes, 770 << 20);
  EXPECT_EQ(manifest("llama").concurrency, 4);
}

TEST_F(CliOfCode, DeploysALanguageModelForAnotherRuntime) {
  const std::string model = std::string(LLM_TESTDATA) + "/llama.gguf";
  const auto without = run_it({"deploy", model, "--runtime", "llm-cuda"});
  EXPECT_EQ(without.exit, 6);
  expect_in(without.err, "this node has no llm-cuda: it needs a card of NVIDIA's");
  world.fleet.known["llm-cuda"] = {};
  const auto ran = run_it({"deploy", model, "--runtime", "llm-cuda"});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_EQ(manifest("llama").runtime, "llm-cuda");
  EXPECT_EQ(manifest("llama").resources.memory_bytes, 2LL << 30);
  EXPECT_EQ(manifest("llama").instances_max, 1);
  const auto as_web = run_it({"deploy", model, "--runtime", "web"});
  EXPECT_EQ(as_web.exit, 2);
  expect_in(as_web.err, "model is for the runtimes onnx, llm and llm-cuda, not for web");
  write("app.py", "def handler(event, context): return 1\n");
  const auto of_folder = run_it({"deploy", folder.string(), "--runtime", "llm-cuda"});
  expect_in(of_folder.err, "--runtime is for a single file; a folder says it in its dormouse.yaml");
}

TEST_F(CliOfCode, ShowsTheSettingsOfItsRuntime) {
  world.fleet.known["llm"] = {};
  run_it({"deploy", write("app.py", "def handler(event, context): return 1\n")});
  run_it({"deploy", write("model.onnx", "bytes")});
  run_it({"deploy", std::string(LLM_TESTDATA) + "/llama.gguf"});
  const auto shown = [&](const char* name) { return run_it({"show", name}).out; };
  expect_in(shown("app"), "python.packages");
  EXPECT_FALSE(shown("app").contains("llm.context"));
  EXPECT_FALSE(shown("model").contains("python.packages"));
  EXPECT_FALSE(shown("model").contains("llm."));
  expect_in(shown("llama"), "llm.context");
  EXPECT_FALSE(shown("llama").contains("python."));
}

TEST_F(CliOfCode, DeploysOnePythonFile) {
  const auto ran = run_it({"deploy", write("app.py", "def handler(event, context): return 1\n")});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  expect_in(ran.out, R"(--data '{"name": "you"}' http://127.0.0.1:8080/f/app)");
  EXPECT_EQ(manifest("app").runtime, "python");
  EXPECT_EQ(manifest("app").handler, "app.handler");
  EXPECT_EQ(world.catalog.active("app")->files[0].path, "app.py");
  EXPECT_EQ(run_it({"deploy", write("fn.py", "\ndef lambda_handler(e, c):\n  pass\n")}).exit, 0);
  EXPECT_EQ(manifest("fn").handler, "fn.lambda_handler");
  const auto dotted = run_it({"deploy", write("my.app.py", "")});
  EXPECT_EQ(dotted.exit, 2);
  expect_in(dotted.err, "call it app.py");
}

TEST_F(CliOfCode, SaysTheUrlOfAWebFunctionAsItsRelativeLinksNeedIt) {
  world.fleet.known["web"] = {};
  write("site/dormouse.yaml", "runtime: web\ncommand: [python3, server.py]\n");
  write("site/server.py", "");
  const auto ran = run_it({"deploy", folder / "site"});
  expect_in(ran.out, "site@1 serves\nhttp://127.0.0.1:8080/f/site/\n");
  expect_in(ran.out, "curl http://127.0.0.1:8080/f/site/\n");
  const auto json = gateway::parse_json(run_it({"--json", "deploy", folder / "site"}).out);
  EXPECT_EQ(json->at("url").as_string(), "http://127.0.0.1:8080/f/site/");
}

TEST_F(CliOfCode, DeploysAFolderByItsMainFile) {
  write("greet/main.py", "def handler(e, c): ...\n");
  write("greet/lib/more.py", "");
  EXPECT_EQ(run_it({"deploy", folder / "greet"}).exit, 0);
  EXPECT_EQ(manifest("greet").handler, "main.handler");
  EXPECT_EQ(world.catalog.active("greet")->files.size(), 2u);
  write("greet/app.py", "");
  const auto both = run_it({"deploy", folder / "greet"});
  EXPECT_EQ(both.exit, 2);
  expect_in(both.err, "both app.py and main.py");
  fs::create_directories(folder / "none");
  expect_in(run_it({"deploy", folder / "none"}).err,
            "there is no dormouse.yaml at the top; put one there");
}

TEST_F(CliOfCode, DeploysAZipAsTheFolderThatWasPacked) {
  write("code/dormouse.yaml", "runtime: python\nhandler: pkg/app.handler\n");
  write("code/pkg/app.py", "def handler(e, c): ...\n");
  const std::string path = zip("code", "My Code.zip");
  const auto temporary = [] {
    return std::ranges::count_if(fs::directory_iterator(fs::temp_directory_path()), [](auto& it) {
      return it.path().filename().string().starts_with("dormouse-") &&
             fs::exists(it.path() / "pkg");
    });
  };
  const auto before = temporary();
  const auto ran = run_it({"deploy", path});
  EXPECT_EQ(ran.exit, 0) << ran.err;
  EXPECT_EQ(temporary(), before);
  EXPECT_EQ(manifest("my-code").handler, "pkg/app.handler");
  EXPECT_EQ(world.catalog.active("my-code")->files[0].path, "pkg/app.py");
  expect_in(run_it({"deploy", folder / "code", "--name", "my-code"}).out, "serves already");
  write("code/pkg/__pycache__/app.cpython-311.pyc", "as it runs");
  write("code/pkg/app.pyc", "as it ran");
  expect_in(run_it({"deploy", folder / "code", "--name", "my-code"}).out, "serves already");
  expect_in(run_it({"deploy", zip("code", "again.zip"), "--name", "my-code"}).out, "already");
  write("code/pkg/sold.pyc", "without its source");
  expect_in(run_it({"deploy", folder / "code", "--name", "my-code"}).out, "my-code@2 serves\n");
}

TEST_F(CliOfCode, SaysWhatAZipLacks) {
  write("code/readme.txt", "nothing to run");
  const auto ran = run_it({"deploy", zip("code", "code.zip")});
  EXPECT_EQ(ran.exit, 2);
  expect_in(ran.err, "code.zip: there is no dormouse.yaml at the top; put one there");
  EXPECT_EQ(run_it({"deploy", write("bad.zip", "not one")}).exit, 2);
  write("two/dormouse.yaml", "runtime: python\n");
  expect_in(run_it({"deploy", zip("two", "two.zip")}).err,
            "dormouse.yaml: handler is missing: say module.function, as app.handler");
  EXPECT_EQ(world.blobs.appends, 0);
}

TEST_F(CliOfCode, BeginsAFunctionThatCanBeDeployed) {
  for (const std::string kind : {"python", "node", "executable"}) {
    const std::string path = folder / ("my-" + kind);
    const auto ran = run_it({"init", kind, path});
    EXPECT_EQ(ran.exit, 0) << ran.err;
    expect_in(ran.out, "dormouse deploy " + path);
    expect_in(ran.out, "/f/my-" + kind);
    EXPECT_EQ(run_it({"deploy", path}).exit, 0);
    EXPECT_EQ(manifest("my-" + kind).runtime, kind);
  }
  EXPECT_EQ(manifest("my-python").handler, "app.handler");
  EXPECT_EQ(manifest("my-python").resources.memory_bytes, 256 << 20);
  EXPECT_TRUE(gateway::parse_json(run_it({"--json", "init", "python", folder / "x"}).out));
  EXPECT_EQ(run_it({"init", "cobol", folder / "y"}).exit, 2);
}

TEST_F(CliOfCode, OverwritesNothingWhenItBeginsOne) {
  write("mine/app.py", "precious");
  const auto ran = run_it({"init", "python", folder / "mine"});
  EXPECT_EQ(ran.exit, 6);
  expect_in(ran.err, "app.py is there already");
  EXPECT_FALSE(fs::exists(folder / "mine/dormouse.yaml"));
  EXPECT_EQ(fs::file_size(folder / "mine/app.py"), 8u);
  fs::create_symlink("/nowhere", folder / "mine/bootstrap");
  EXPECT_EQ(run_it({"init", "executable", folder / "mine"}).exit, 6);
}

// With a curl that gives one request, takes one answer, and fails when it is asked again.
constexpr std::string_view curl_of_one_request = R"(#!/bin/sh
for last; do :; done
[ "$last" = "http://api/2018-06-01/runtime/invocation/next" ] && {
  [ ! -e "$HERE/asked" ] || exit 7
  : >"$HERE/asked"
  while [ $# -gt 0 ]; do
    [ "$1" = -D ] && printf 'HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s: id-1\r\n\r\n' \
      "${TYPE-application/json}" Lambda-Runtime-Aws-Request-Id >"$2"
    [ "$1" = -o ] && printf '{"name": "you"}' >"$2"
    shift
  done
  exit 0
}
echo "$last" >"$HERE/answered"
while [ $# -gt 0 ]; do
  [ "$1" = --data-binary ] && cat "${2#@}" >>"$HERE/answered"
  shift
done
)";

TEST_F(CliOfCode, BeginsFunctionsThatAnswer) {
  run_it({"init", "python", folder / "py"});
  const std::string call =
      "cd '" + (folder / "py").string() +
      "' && python3 -c \"import app, types; print(app.handler({'name': 'you'}, "
      "types.SimpleNamespace(aws_request_id='id-1')))\" >../said";
  ASSERT_EQ(std::system(call.c_str()), 0);
  expect_in(read(folder / "said"), "{'greeting': 'Hello, you!', 'request': 'id-1'}");

  run_it({"init", "executable", folder / "sh"});
  fs::permissions(write("curl", std::string(curl_of_one_request)), fs::perms::owner_all);
  const std::string loop = "HERE='" + folder.string() + "' PATH='" + folder.string() +
                           "':$PATH AWS_LAMBDA_RUNTIME_API=api '" +
                           (folder / "sh/bootstrap").string() + "' 2>/dev/null";
  EXPECT_NE(std::system(loop.c_str()), 0);  // It ends when nobody gives it another.
  const std::string answered = read(folder / "answered");
  expect_in(answered, "http://api/2018-06-01/runtime/invocation/id-1/response\n");
  expect_in(answered, R"({"greeting": "Hello!", "request": "id-1", "you_sent": {"name": "you"}})");
  fs::remove(folder / "asked");
  EXPECT_NE(std::system(("TYPE=text/plain " + loop).c_str()), 0);
  expect_in(read(folder / "answered"), R"("you_sent": "15 bytes"})");
}

TEST_F(Cli, ResumesAnUploadInChunks) {
  const std::string path = write("big.onnx", std::string((20 << 20) + 5, 'x'));
  EXPECT_EQ(run_it({"deploy", path}).exit, 0);
  EXPECT_EQ(world.blobs.appends, 3);
  const Digest digest = world.blobs.whole.begin()->first;
  world.blobs.parts[digest] = std::string(20 << 20, 'x');  // As if it had been cut off there.
  world.blobs.whole.clear();
  EXPECT_EQ(run_it({"deploy", path}).exit, 0);
  EXPECT_EQ(world.blobs.appends, 4);
  EXPECT_EQ(world.blobs.whole.begin()->second.size(), (20u << 20) + 5);
}

TEST_F(Cli, SendsAFileFromItsBeginningIfWhatOthersSentOfItIsWrong) {
  world.blobs.right = "right";
  const std::string path = write("model.onnx", "right");
  for (const char* sent : {"wrong and too much of it", "wrong", "wro"}) {
    EXPECT_EQ(run_it({"deploy", path}).exit, 0);
    const Digest digest = world.blobs.whole.begin()->first;
    world.blobs.whole.clear();
    world.blobs.parts[digest] = sent;
    const auto ran = run_it({"deploy", path});
    EXPECT_EQ(ran.exit, 0) << sent << ": " << ran.err;
    EXPECT_EQ(world.blobs.whole[digest], "right");
  }
}

TEST_F(Cli, ShowsWhyADeployFailed) {
  world.fleet.start_fails = Error{Code::function_failed, "model.onnx: bad magic"};
  const auto ran = run_it({"deploy", write("a.onnx", "bytes")});
  EXPECT_EQ(ran.exit, 1);
  EXPECT_EQ(ran.out, "");
  expect_in(ran.err, "dormouse: starting a: model.onnx: bad magic\n");
}

TEST_F(Cli, SendsWhatSymbolicLinksOfAFolderLeadTo) {
  write("links/dormouse.yaml", "name: a\nruntime: onnx\nmodel: latest.onnx\n");
  write("links/models/1.onnx", "a model");
  fs::create_symlink("models/1.onnx", folder / "links/latest.onnx");
  fs::create_symlink("models", folder / "links/weights");
  const auto files = files_below(folder / "links");
  ASSERT_TRUE(files) << files.error().message;
  std::vector<std::string> paths;
  for (const LocalFile& file : *files) {
    paths.push_back(file.path);
    EXPECT_EQ(file.on_disk, folder / "links/models/1.onnx");
  }
  EXPECT_EQ(paths, (std::vector<std::string>{"latest.onnx", "models/1.onnx", "weights/1.onnx"}));
  EXPECT_EQ(run_it({"deploy", folder / "links"}).exit, 0);
  EXPECT_EQ(world.blobs.appends, 1);
}

TEST_F(Cli, FindsWhatIsWrongWithAFolderBeforeItSendsAnything) {
  write("bad/dormouse.yaml", "name: bad\nruntime: onnx\nmemroy: 1GiB\n");
  expect_in(run_it({"deploy", folder / "bad"}).err, "did you mean \"memory\"?");
  write("bad/dormouse.yaml", "name: bad\nruntime: onnx\n");
  fs::create_symlink("/etc/passwd", folder / "bad/model.onnx");
  const auto linked = run_it({"deploy", folder / "bad"});
  EXPECT_EQ(linked.exit, 2);
  expect_in(linked.err, "\"model.onnx\": is a symbolic link to \"/etc/passwd\"");
  EXPECT_EQ(run_it({"deploy", folder / "nothing"}).exit, 2);
  EXPECT_EQ(world.blobs.appends, 0);
}

TEST_F(Cli, ListsShowsRollsBackAndDeletes) {
  EXPECT_EQ(run_it({"list"}).out, "");
  run_it({"deploy", write("a.onnx", "one"), "--name", "reader"});
  run_it({"deploy", write("a.onnx", "two"), "--name", "reader"});
  const auto list = run_it({"list"});
  EXPECT_EQ(
      list.out,
      "NAME    REVISION  RUNTIME  STATE   INSTANCES  TEMPLATE  QUEUED  MEMORY  CALLS  FAILED\n"
      "reader         2  onnx     asleep          0         -       0       -      0       0\n");
  expect_in(run_it({"show", "reader"}).out, "note: form");
  EXPECT_FALSE(run_it({"show", "reader"}).out.contains("command"));  // It has none.
  expect_in(run_it({"revisions", "reader"}).out, "serves");
  EXPECT_EQ(run_it({"rollback", "reader"}).out, "reader@1 serves\n");
  EXPECT_EQ(run_it({"rollback", "reader", "2"}).out, "reader@2 serves\n");
  EXPECT_EQ(run_it({"rollback", "reader", "9"}).exit, 5);
  EXPECT_EQ(run_it({"delete", "reader", "--revision", "2"}).exit, 6);  // It serves.
  EXPECT_EQ(run_it({"delete", "reader", "--revision", "1"}).out, "reader@1 is gone\n");
  EXPECT_EQ(run_it({"rollback", "reader", "1"}).exit, 5);
  EXPECT_EQ(run_it({"delete", "reader"}).out, "reader is gone\n");
  EXPECT_EQ(run_it({"show", "reader"}).exit, 5);
}

TEST_F(Cli, AnswersInJsonEverywhere) {
  run_it({"deploy", write("reader.onnx", "one")});
  world.logs.append("reader", {.text = "hello"});
  ledger::Receipt receipt;
  receipt.begun.key.id = InvocationId::make({1'700'000'000'000}, {1, 1});
  world.ledger.end(receipt);
  const std::vector<std::string> commands[] = {{"list"},
                                               {"show", "reader"},
                                               {"revisions", "reader"},
                                               {"logs", "reader"},
                                               {"usage"},
                                               {"version"},
                                               {"doctor"},
                                               {"receipt", receipt.begun.key.id.text()},
                                               {"deploy", folder / "reader.onnx"},
                                               {"key", "new"},
                                               {"delete", "reader"}};
  for (auto command : commands) {
    command.insert(command.begin(), "--json");
    const auto ran = run_it(command);
    EXPECT_TRUE(gateway::parse_json(ran.out)) << command[1] << ": " << ran.out << ran.err;
  }
}

TEST_F(Cli, InvokesWithTheTypeThatFits) {
  const struct {
    std::vector<std::string> arguments;
    const char* out;
  } rows[] = {
      {{"invoke", "a", "--data", "[1]"}, "[1] as application/json"},
      {{"invoke", "a", "--data", "hi"}, "hi as text/plain; charset=utf-8"},
      {{"invoke", "a", "{\"b\": 1}"}, "{\"b\": 1} as application/json"},
      {{"invoke", "a", "-d", "hi", "-t", "x/y"}, "hi as x/y"},
      {{"invoke", "a", "--file", write("line.png", "png")}, "png as image/png"},
      {{"invoke", "a", "--file", "-"}, "typed as text/plain; charset=utf-8"},
  };
  for (const auto& row : rows) EXPECT_EQ(run_it(row.arguments, "typed").out, row.out);
  EXPECT_EQ(run_it({"invoke", "a", "--data", "x", "--file", "y"}).exit, 2);
  EXPECT_EQ(run_it({"invoke", "a", "--file", folder / "nothing"}).exit, 2);
}

TEST_F(Cli, AsksAWebFunctionForAPath) {
  const auto out = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"invoke", "site"});
    return run_it(more).out;
  };
  EXPECT_EQ(out({"--path", "/a?b=c"}), "GET /f/site/a?b=c ");
  EXPECT_EQ(out({"--path", "/a", "{}"}), "POST /f/site/a {} as application/json");
  EXPECT_EQ(out({"--path", "/a", "-X", "PUT", "x", "-t", "x/y"}), "PUT /f/site/a x as x/y");
  EXPECT_EQ(out({"--path", "/a", "--method", "DELETE"}), "DELETE /f/site/a ");
  EXPECT_EQ(out({"--path", "/a", "-X", "delete"}), "DELETE /f/site/a ");
  expect_in(run_it({"invoke", "site", "--path", "a"}).err, "a path begins with \"/\"");
  expect_in(run_it({"invoke", "site", "--path", "/a b"}).err, "/a%20caf%C3%A9");
  EXPECT_EQ(run_it({"invoke", "site", "-X", "FETCH"}).exit, 2);
}

TEST_F(Cli, PrintsTheErrorsOfAFunctionAsItAnsweredThem) {
  const auto gone = run_it({"invoke", "site", "--path", "/gone"});
  EXPECT_EQ(gone.exit, 1);
  EXPECT_EQ(gone.out, "no page here");
  EXPECT_EQ(gone.err, "\ndormouse: site answered 404\n");
  EXPECT_EQ(run_it({"--json", "invoke", "site", "--path", "/gone"}).out, "no page here");
  const auto method = run_it({"invoke", "site"});
  EXPECT_EQ(method.exit, 1);
  EXPECT_EQ(method.out, R"({"error": {"code": "not_found"}})");
  expect_in(method.err, "site answered 501; of a web server, --path / asks for a page");
  const auto nobody = run_it({"invoke", "nobody"});
  EXPECT_EQ(nobody.exit, 5);
  EXPECT_EQ(nobody.out, "");
  EXPECT_EQ(nobody.err, "dormouse: there is no function nobody\n");
  EXPECT_TRUE(gateway::parse_json(run_it({"--json", "invoke", "nobody"}).out));
}

TEST_F(Cli, SaysThatAnAnswerBrokeOff) {
  const auto ran = run_it({"invoke", "broken", "half"});
  EXPECT_EQ(ran.exit, 1);
  expect_in(ran.out, "half as text/plain");
  EXPECT_EQ(ran.err, "\ndormouse: the answer broke off\n");
}

TEST_F(Cli, SaysThatWhatLooksLikeJsonIsSentAsText) {
  const auto ran = run_it({"invoke", "a", "{\"b\": 1"});
  expect_in(ran.out, "as text/plain");
  expect_in(ran.err, "sent as text, as it is not JSON: ");
  EXPECT_EQ(run_it({"invoke", "a", "{\"b\": 1", "-t", "text/plain"}).err, "");
  expect_in(run_it({"invoke", "a", "-d", "@x.png"}).err, "sent as text; --file x.png sends");
}

TEST_F(Cli, SaysWhetherItsKeyOrNoneIsRefused) {
  const auto without = run_it({"invoke", "locked", "1"});
  EXPECT_EQ(without.exit, 4);
  EXPECT_EQ(without.err, "dormouse: a key is needed: set DORMOUSE_KEY to it, or say --key\n");
  const auto wrong = run_it({"--key", "wrong", "invoke", "locked", "1"});
  EXPECT_EQ(wrong.exit, 4);
  expect_in(wrong.err, "the key that was given, in DORMOUSE_KEY or by --key, is not accepted");
  const auto page = run_it({"--key", "wrong", "invoke", "site", "--path", "/locked"});
  EXPECT_EQ(page.out, "no page for you");
}

TEST_F(Cli, SaysThatItSpeaksNoTls) {
  const std::string code = write("app.py", "def handler(event, context): return 1\n");
  const std::vector<std::string> commands[] = {{"list"}, {"doctor"}, {"dev", code}};
  for (std::vector<std::string> command : commands) {
    command.insert(command.end(), {"--url", "https://models.example"});
    const auto ran = run_it(command);
    EXPECT_EQ(ran.exit, 2);
    expect_in(ran.err, "--url https://models.example: the command line does not speak TLS; give");
    EXPECT_EQ(ran.out, "");
  }
}

TEST_F(Cli, SaysErrorsAsJsonToPrograms) {
  down = true;
  const auto unreachable = gateway::parse_json(run_it({"--json", "list"}).out);
  EXPECT_EQ(unreachable->at("error").at("code").as_string(), "unavailable");
  const auto missing = gateway::parse_json(run_it({"--json", "deploy", folder / "no"}).out);
  EXPECT_EQ(missing->at("error").at("code").as_string(), "not_found");
}

TEST_F(Cli, SaysWhatIsWrongWithACommandAsJsonToPrograms) {
  const std::vector<std::string> rows[] = {
      {"list", "--nosuch", "--json"}, {"--json", "show"}, {"show", "--json"},
      {"--json", "depoly", "x"},      {"--json"},         {"--json", "rollback", "a", "b"}};
  for (const auto& row : rows) {
    const auto ran = run_it(row);
    EXPECT_EQ(ran.exit, 2) << row[0];
    EXPECT_NE(ran.err, "") << row[0];
    const auto said = gateway::parse_json(ran.out);
    ASSERT_TRUE(said) << row[0] << ": " << ran.out;
    EXPECT_EQ(said->at("error").at("code").as_string(), "invalid_argument");
    EXPECT_NE(said->at("error").at("message").as_string(), "");
  }
  EXPECT_EQ(run_it({"show"}).out, "");
}

TEST_F(Cli, DeploysNoFileThatIsNeitherModelNorCode) {
  const auto ran = run_it({"deploy", write("app.js", "exports.handler = 1")});
  EXPECT_EQ(ran.exit, 2);
  expect_in(ran.err, "app.js is no model (.onnx, .gguf), no Python code (.py) and no .zip");
  EXPECT_EQ(run_it({"deploy", write("model", "\x08\x07")}).exit, 0);
  expect_in(run_it({"deploy", write("model.onnx", "")}).err, "model.onnx is empty");
}

TEST_F(Cli, PrintsTheReceiptBesideTheAnswer) {
  ledger::Receipt receipt;
  receipt.begun.key.id = InvocationId::make({1'700'000'000'000}, {1, 1});
  receipt.begun.function = "a";
  receipt.run = std::chrono::microseconds(1930);
  receipt.price = {2'100'000};
  receipt.tokens = {1234, 7, 11};
  world.ledger.end(receipt);
  const auto ran = run_it({"invoke", "a", "--data", "hi", "--receipt"});
  EXPECT_EQ(ran.out, "hi as text/plain; charset=utf-8");
  EXPECT_TRUE(ran.err.starts_with("\nreceipt ")) << ran.err;  // Not on the answer's line.
  expect_in(ran.err, "1.93 ms");
  expect_in(ran.err, "0.0000021 USD");
  expect_in(ran.err, "11 generated; of the prompt 1,234 read, 7 reused");
  const auto json =
      gateway::parse_json(run_it({"--json", "invoke", "a", "--data", "hi", "--receipt"}).err);
  ASSERT_TRUE(json);
  EXPECT_EQ(json->at("receipts").at(0).at("function").as_string(), "a");
}

TEST_F(Cli, SaysFromWhichHourOnUsageIsSummed) {
  const auto ran = run_it({"usage", "--since", "90m"});  // It is 22:13:20.
  EXPECT_TRUE(ran.out.starts_with("since 2023-11-14 20:00 UTC\nFUNCTION")) << ran.out;
  EXPECT_TRUE(run_it({"usage"}).out.starts_with("FUNCTION"));
}

TEST_F(Cli, ShowsOfAnInterruptedCallOnlyWhatIsKnown) {
  ledger::Receipt receipt;
  receipt.begun.key.id = InvocationId::make({1'700'000'000'000}, {1, 1});
  receipt.begun.function = "a";
  receipt.interrupted = true;
  world.ledger.end(receipt);
  const auto ran = run_it({"receipt", receipt.begun.key.id.text()});
  expect_in(ran.out, "interrupted: the platform died meanwhile");
  EXPECT_EQ(ran.out.find("peak memory"), ran.out.npos);
}

TEST_F(Cli, ListsConversationsAndForgetsOne) {
  run_it({"deploy", write("reader.onnx", "one")});
  world.conversations.keep({{"default", "reader", "12ab"}, "of tuesday"}, nullptr, 700);
  expect_in(run_it({"conversations", "reader"}).out, "of tuesday    700 B  2023-11-14 22:13:20");
  EXPECT_EQ(run_it({"conversations", "reader", "--forget", "of tuesday"}).out,
            "of tuesday is forgotten\n");
  EXPECT_EQ(run_it({"conversations", "reader", "--forget", "of tuesday"}).exit, 5);
  EXPECT_EQ(run_it({"conversations", "nobody"}).exit, 5);
  world.conversations.keep({{"default", "reader", "12ab"}, "a"}, nullptr, 700);
  world.conversations.keep({{"default", "reader", "12ab"}, "b"}, nullptr, 700);
  EXPECT_EQ(run_it({"--json", "conversations", "reader", "--forget", "a"}).out,
            "{\"function\":\"reader\",\"forgotten\":[\"a\"]}\n");
  EXPECT_EQ(run_it({"--json", "conversations", "reader", "--forget-all"}).out,
            "{\"function\":\"reader\",\"forgotten\":[\"b\"]}\n");
  const auto none = run_it({"conversations", "reader"});
  EXPECT_EQ(none.out, "");
  EXPECT_EQ(none.err,
            "No conversation is kept of reader: language models have some, and its runtime is "
            "onnx.\n");
}

TEST_F(Cli, DoesNotLetALogDriveTheTerminal) {
  run_it({"deploy", write("reader.onnx", "one")});
  world.logs.append("reader", {.revision = 1, .text = "\x1b]0;evil\x07 caf\xc3\xa9 \xc2\x9b"});
  const auto ran = run_it({"logs", "reader"});
  expect_in(ran.out, "?]0;evil? caf\xc3\xa9 ?\n");
  EXPECT_EQ(run_it({"logs", "nobody"}).exit, 5);
}

TEST_F(Cli, EndsWithTheStatusThatItDocuments) {
  EXPECT_EQ(run_it({}).exit, 2);
  EXPECT_EQ(run_it({"lst"}).exit, 2);
  EXPECT_EQ(run_it({"show"}).exit, 2);
  EXPECT_EQ(run_it({"list", "--no-such"}).exit, 2);
  EXPECT_EQ(run_it({"rollback", "a", "0"}).exit, 2);
  EXPECT_EQ(run_it({"show", "nobody"}).exit, 5);
  EXPECT_EQ(run_it({"receipt", "x"}).exit, 6);
  down = true;
  const auto ran = run_it({"list"});
  EXPECT_EQ(ran.exit, 3);
  expect_in(ran.err, "Is the daemon running?");
  EXPECT_EQ(run_it({"--help"}).exit, 0);
  EXPECT_EQ(run_it({"--version"}).out, run_it({"version"}).out);
  EXPECT_EQ(run_it({"deploy", "--help"}).exit, 0);
  EXPECT_EQ(run_it({"doctor"}).exit, 0);  // Of this host.
}

TEST_F(Cli, SaysWhoseOciRuntimeTheDoctorLooksAt) {
  EXPECT_EQ(run_it({"doctor"}).err, "");
  expect_in(run_it({"doctor", "--oci-runtime", "crun"}).err,
            "This is about the daemon at http://127.0.0.1:8080, and the OCI runtime that it has");
  down = true;
  const auto here = run_it({"doctor", "--oci-runtime", "no-such"});
  expect_in(here.err, "this is about this host");
  expect_in(here.out, "OCI runtime no-such is not installed");
}

TEST_F(Cli, ServesWithTheFileAndWhatTheCommandLineSaysFirst) {
  const std::string config = write("config.yaml", "data: /a\nlisten: 127.0.0.1:1\n");
  EXPECT_EQ(run_it({"serve", "--config", config, "--listen", "127.0.0.1:2"}).exit, 0);
  EXPECT_EQ(served.data, "/a");
  EXPECT_EQ(served.port, 2);
  write("real/file", "");
  fs::create_directory_symlink(folder / "real", folder / "link");
  EXPECT_EQ(run_it({"serve", "--data", folder / "link/data"}).exit, 0);
  EXPECT_EQ(served.data, folder / "real/data");
  EXPECT_EQ(run_it({"serve"}).exit, 2);
  const auto open = run_it({"serve", "--data", "/a", "--listen", "0.0.0.0:80"});
  EXPECT_EQ(open.exit, 2);
  expect_in(open.err, "without a key");
}

TEST_F(Cli, ServesNothingWithoutRoot) {
  root = false;
  const auto ran = run_it({"serve", "--data", folder / "data"});
  EXPECT_EQ(ran.exit, 1);
  expect_in(ran.err, "serve needs root: ");
  EXPECT_EQ(std::ranges::count(ran.err, '\n'), 1);
  EXPECT_EQ(served.data, "");
  const auto dev = run_it({"dev", write("app.py", "def handler(event, context): return 1\n")});
  EXPECT_EQ(dev.exit, 1);
  expect_in(dev.err, "or say --url of one that runs");
}

TEST_F(Cli, ChecksAConfiguration) {
  EXPECT_EQ(run_it({"config", "check", write("good.yaml", "data: /a\n")}).exit, 0);
  const auto ran = run_it({"config", "check", write("bad.yaml", "dta: /a\n")});
  EXPECT_EQ(ran.exit, 6);
  expect_in(ran.err, "did you mean \"data\"?");
  EXPECT_EQ(run_it({"config", "check", folder / "nothing"}).exit, 2);
}

TEST_F(Cli, WarnsOfAConfigurationThatCanHardlyBeMeant) {
  const auto check = [&](const std::string& text) {
    return run_it({"config", "check", write("config.yaml", text)});
  };
  const auto large = check("node: {memory: 3000TiB, cpu: 100000}\n");
  EXPECT_EQ(large.exit, 0);
  expect_in(large.out, "config.yaml is good\n");
  expect_in(large.err, "warning: node.memory is more than this host has (");
  expect_in(large.err, "warning: node.cpu is more than this host has (");
  expect_in(check("").err, "warning: it is empty: everything is at its default");
  EXPECT_EQ(check("# Nothing yet.\n").err, "");  // As it is installed.
  EXPECT_EQ(check("data: /a\nnode: {memory: 64MiB, cpu: 1}\n").err, "");
  const auto json = run_it({"--json", "config", "check", write("config.yaml", "")});
  EXPECT_EQ(gateway::parse_json(json.out)->at("warnings").as_array().size(), 1u);
}

TEST_F(Cli, FindsWhatAConfigurationNamesAndTheHostLacks) {
  const std::string key = "sha256:" + std::string(64, 'a');
  const std::string keys = write("keys", key);
  const std::string master = write("master.key", std::string(32, 'x'));
  fs::permissions(master, fs::perms::owner_read);
  const std::string good = "data: /a\nkey_file: " + keys + "\nmaster_key_file: " + master +
                           "\nruntimes: {x: {root: /, argv: [a], binds: [{source: /usr, "
                           "target: /u}]}}\n";
  EXPECT_EQ(run_it({"config", "check", write("good.yaml", good)}).err, "");
  const struct {
    const char *text, *says;
  } rows[] = {
      {"key_file: /nonexistent", "key_file: cannot read the key file /nonexistent"},
      {"master_key_file: /nonexistent/x", "master_key_file: there is no folder /nonexistent"},
      {"master_key_file: /etc/passwd", "master_key_file: others than its owner"},
      {"sandbox: {oci_runtime: nosuch}", "sandbox.oci_runtime: OCI runtime nosuch is not inst"},
      {"sandbox: {oci_runtime: /no/runc}", "sandbox.oci_runtime: OCI runtime /no/runc does not"},
      {"runtimes: {x: {root: /no, argv: [a]}}", "runtimes.x.root: there is no folder /no"},
      {"runtimes: {x: {root: /, argv: [a], binds: [{source: /no, target: /u}]}}",
       "runtimes.x.binds: there is no /no"},
      {"runtimes: {x: {root: /, argv: [a], devices: [/dev/no]}}",
       "runtimes.x.devices: device /dev/no is no character device directly in /dev"},
  };
  for (const auto& row : rows) {
    const auto ran = run_it({"config", "check", write("bad.yaml", row.text)});
    EXPECT_EQ(ran.exit, 6) << row.text;
    expect_in(ran.err, std::string("bad.yaml: ") + row.says);
  }
}

TEST_F(Cli, SaysThatAFolderIsNoFile) {
  fs::create_directories(folder);
  for (const std::vector<std::string>& each : {std::vector<std::string>{"config", "check", folder},
                                               {"serve", "--config", folder},
                                               {"secret", "set", "A", "--from-file", folder},
                                               {"invoke", "a", "--file", folder}}) {
    const auto ran = run_it(each);
    EXPECT_EQ(ran.exit, 2) << each[0];
    expect_in(ran.err, "reading " + folder.string() + ": Is a directory");
  }
}

TEST_F(Cli, MakesAKeyThatTheFileAcceptsAndDoesNotHold) {
  write("x", "");
  const std::string path = folder / "keys";
  const auto ran = run_it({"key", "new", "--file", path});
  const std::string key = ran.out.substr(0, ran.out.size() - 1);
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(text.find(key), std::string::npos);
  http::Fields fields;
  fields.add("x-api-key", key);
  EXPECT_TRUE(gateway::Keys::parse(text)->accept(fields));
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST_F(Cli, ShowsWhatSignsOnlyOfAKeyThatDoes) {
  write("x", "");
  const std::string path = folder / "keys";
  const auto made = [&](std::vector<std::string> arguments) {
    const std::string out = run_it(std::move(arguments)).out;
    return out.substr(0, out.size() - 1);
  };
  const std::string plain = made({"key", "new", "--file", path});
  const std::string signs = made({"key", "new", "--aws", "--file", path});
  const auto good = run_it({"--key", signs, "key", "aws", "--file", path});
  EXPECT_EQ(good.exit, 0);
  EXPECT_EQ(good.err, "");
  expect_in(good.out, "export AWS_SECRET_ACCESS_KEY=");
  const auto refused = run_it({"--key", plain, "key", "aws", "--file", path});
  EXPECT_EQ(refused.exit, 6);
  EXPECT_EQ(refused.out, "");
  expect_in(refused.err, "this key was made without --aws: ");
  EXPECT_EQ(run_it({"--key", "another", "key", "aws", "--file", path}).exit, 4);
  const auto unseen = run_it({"--key", plain, "key", "aws"});
  EXPECT_EQ(unseen.exit, 0);
  expect_in(unseen.err, "good if the key was made with --aws");
}

TEST_F(Cli, SetsSecretsFromItsInputOrAFileAndShowsNone) {
  const auto none = run_it({"secret", "list"});
  expect_in(none.err, "dormouse secret set NAME");
  const auto set = run_it({"secret", "set", "API_KEY"}, "canary\n");
  EXPECT_EQ(set.exit, 0) << set.err;
  EXPECT_EQ(set.out, "API_KEY is set, version 1\n");
  EXPECT_EQ(*world.secrets.read("API_KEY"), "canary");
  EXPECT_EQ(run_it({"secret", "set", "API_KEY"}, "two\nlines\n\n").exit, 0);
  EXPECT_EQ(*world.secrets.read("API_KEY"), "two\nlines\n");
  EXPECT_EQ(run_it({"secret", "set", "PEM", "--from-file", write("key.pem", "canary\n")}).exit, 0);
  EXPECT_EQ(*world.secrets.read("PEM"), "canary\n");
  const auto list = run_it({"secret", "list"});
  expect_in(list.out, "API_KEY        2");
  EXPECT_EQ(list.out.find("canary"), list.out.npos);
  EXPECT_EQ(run_it({"secret", "rm", "PEM"}).out, "PEM is gone\n");
  EXPECT_EQ(run_it({"secret", "rm", "PEM"}).exit, static_cast<int>(Exit::not_found));
}

TEST_F(Cli, TakesNoSecretAsAnArgument) {
  EXPECT_EQ(run_it({"secret", "set", "API_KEY", "canary"}).exit, static_cast<int>(Exit::usage));
  EXPECT_EQ(run_it({"secret", "set", "API_KEY", "--from-file", folder / "no such"}).exit,
            static_cast<int>(Exit::usage));
  EXPECT_TRUE(world.secrets.known.empty());
}

TEST(Print, IsReadable) {
  EXPECT_EQ(readable_size(512), "512 B");
  EXPECT_EQ(readable_size(1536), "1.5 KiB");
  EXPECT_EQ(readable_size(512 << 20), "512 MiB");
  EXPECT_EQ(readable_ms(0.42), "0.42 ms");
  EXPECT_EQ(readable_ms(170), "170 ms");
  EXPECT_EQ(readable_ms(1930), "1.93 s");
  EXPECT_EQ(readable_ms(123'000), "2 m 03 s");
  EXPECT_EQ(readable_count(1'234'567), "1,234,567");
  EXPECT_EQ(readable_count(-999), "-999");
}

void expect_page(const char* name, const std::string& wanted) {
  const auto path = fs::path(__FILE__).parent_path() / "../../docs/reference" / name;
  if (std::getenv("DORMOUSE_WRITE_DOCS") != nullptr) std::ofstream(path) << wanted;
  std::ifstream file(path);
  const std::string there((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(there, wanted) << "run this test with DORMOUSE_WRITE_DOCS=1 and commit " << path;
}

TEST(ReferencePages, SayWhatTheCodeDoes) {
  expect_page("cli.md", cli_page());
  expect_page("config.md", config_page());
}

}  // namespace
}  // namespace dormouse::cli
