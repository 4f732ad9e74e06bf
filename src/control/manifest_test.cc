#include "control/manifest.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "control/manifest_pages.h"
#include "fleet/revision_files.h"

namespace dormouse::control {
namespace {

using namespace std::chrono_literals;

// The message for a manifest that is complete but for `field`; "" if it is accepted.
std::string refusal(const std::string& field) {
  const auto value = gateway::parse_json(R"({"name":"a","runtime":"of-the-node",)" + field + "}");
  if (!value) return "not JSON";
  const auto manifest = read_manifest(*value);
  return manifest ? "" : manifest.error().message;
}

TEST(Manifest, HasDefaultsForAllButNameAndRuntime) {
  const auto value = gateway::parse_json(R"({"name":"a","runtime":"onnx"})");
  catalog::Manifest expected;
  expected.name = "a";
  expected.runtime = "onnx";
  expected.model = "model.onnx";
  const auto read = read_manifest(*value);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, expected);
}

TEST(Manifest, ReadsEveryField) {
  const auto value = gateway::parse_json(R"({
    "name":"read-text-line","runtime":"of-the-node","model":"m/model.onnx","task":"text-line",
    "task_options":{"keys":"keys.txt"},"memory":"256MiB","cpu":0.5,"timeout":"5s",
    "start_timeout":"1m30s","keep_alive":"500ms","concurrency":4,"threads":2,"min_instances":1,
    "max_instances":8,"queue":10,"max_body":1048576,"env":{"PORT":80,"DEBUG":true,"A":"b"},
    "handler":"app.handler","python":{"packages":"host"},"template_keep_alive":"1h"})");
  ASSERT_TRUE(value);
  const auto read = read_manifest(*value);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->model, "m/model.onnx");
  EXPECT_EQ(read->resources.memory_bytes, 256 << 20);
  EXPECT_EQ(read->resources.cpu_millicores, 500);
  EXPECT_EQ(read->start_timeout, 90s);
  EXPECT_EQ(read->keep_alive, 500ms);
  EXPECT_EQ(read->instances_min, 1);
  EXPECT_EQ(read->instances_max, 8);
  EXPECT_EQ(read->body_bytes_max, 1 << 20);
  EXPECT_EQ(read->handler, "app.handler");
  EXPECT_EQ(read->python_packages, "host");
  EXPECT_EQ(read->template_keep_alive, 1h);
  EXPECT_EQ(read->env.at("PORT"), "80");
  EXPECT_EQ(read->env.at("DEBUG"), "true");
  EXPECT_EQ(*read_manifest(manifest_json(*read)), *read);
}

TEST(Manifest, TakesNumbersAndListsAsOptionsOfATask) {
  const struct {
    const char* given;
    const char* text;
  } rows[] = {{"[0.485,0.456,0.406]", "0.485, 0.456, 0.406"},
              {"0.5", "0.5"},
              {"[1,\"1/255\",true]", "1, 1/255, true"},
              {"1e300", "1e+300"},
              {"-0.0", "-0"},
              {"[]", ""}};
  for (const auto& row : rows) {
    const auto value = gateway::parse_json(R"({"name":"a","runtime":"onnx","task_options":{"o":)" +
                                           std::string(row.given) + "}}");
    const auto read = read_manifest(*value);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->task_options.at("o"), row.text);
    EXPECT_EQ(*read_manifest(manifest_json(*read)), *read);
  }
  EXPECT_NE(refusal(R"("task_options":{"o":[[1]]})").find("\"o\": neither text"),
            std::string::npos);
  EXPECT_NE(refusal(R"("env":{"O":[1]})").find("\"O\": neither text"), std::string::npos);
}

TEST(Manifest, TellsTheWorkerWhatItMustKnow) {
  const auto value = gateway::parse_json(R"({"name":"greet","runtime":"python",
    "handler":"app.handler","python":{"packages":"host"},"memory":"300MiB","env":{"A":"b"}})");
  catalog::Draft draft;
  draft.manifest = *read_manifest(*value);
  const wire::Options expected{
      {"name", "greet"},         {"memory_mib", "300"},       {"threads", "1"},
      {"concurrency", "1"},      {"python.packages", "host"}, {"env.A", "b"},
      {"handler", "app.handler"}};
  EXPECT_EQ(fleet::options_of(draft), expected);
}

// By its digest a worker knows a model again, and what was made of it.
TEST(Manifest, TellsTheWorkerOfItsModelAlsoIfThatIsNotNamed) {
  const struct {
    const char* runtime;
    const char* file;
  } rows[] = {{"onnx", "model.onnx"}, {"llm", "model.gguf"}};
  const Digest digest = *Digest::parse("sha256:" + std::string(64, 'a'));
  for (const auto& row : rows) {
    const auto value =
        gateway::parse_json(R"({"name":"a","runtime":")" + std::string(row.runtime) + "\"}");
    catalog::Draft draft;
    draft.manifest = *read_manifest(*value);
    draft.files = {{row.file, digest, 11}};
    const wire::Options options = fleet::options_of(draft);
    ASSERT_TRUE(options.contains("model.digest")) << row.runtime;
    EXPECT_EQ(options.at("model"), row.file);
    EXPECT_EQ(options.at("model.digest"), digest.text());
  }
}

TEST(Manifest, RefusesWhatMeansNothingToItsRuntime) {
  const auto of = [](const std::string& runtime, const std::string& field) {
    const auto value =
        gateway::parse_json(R"({"name":"a","runtime":")" + runtime + "\"," + field + "}");
    const auto read = read_manifest(*value);
    return read ? std::string("none") : read.error().message;
  };
  EXPECT_EQ(of("llm", R"("handler":"app.f")"),
            "handler is for the runtimes python, node and executable, not for llm");
  EXPECT_EQ(of("onnx", R"("llm":{"context":512})"),
            "llm is for the runtimes llm and llm-cuda, not for onnx");
  EXPECT_EQ(of("llm-cuda", R"("model":"m.gguf","llm":{"context":512})"), "none");
  EXPECT_EQ(of("llm-cuda", R"("snapshot":"on")"),
            "snapshot: on is for the runtimes onnx, llm and python, not for llm-cuda");
  EXPECT_EQ(of("llm-cuda", R"("concurrency":65)"),
            "concurrency is at most 64 for the runtime llm-cuda");
  EXPECT_EQ(of("web", R"("model":"m.onnx")"),
            "model is for the runtimes onnx, llm and llm-cuda, not for web");
  EXPECT_TRUE(of("llm", R"("python":{"packages":"host"})").starts_with("python is for "));
  EXPECT_TRUE(of("llm", R"("task":"text-line")").starts_with("task is for "));
  EXPECT_TRUE(of("onnx", R"("command":["x"])").starts_with("command is for "));
  EXPECT_EQ(of("onnx", R"("secrets":{"A":"late"})"),
            "secrets: a model of the runtime onnx has no code that could read them");
  EXPECT_EQ(of("executable", R"("handler":"f")"), "none");
  EXPECT_EQ(of("of-the-node", R"("model":"m","handler":"f","command":["x"])"), "none");
}

TEST(Manifest, AcceptsWhatIsAtTheBounds) {
  for (const char* field : {R"("memory":"16MiB")",
                            R"("memory":"4TiB")",
                            R"("memory":16777216)",
                            R"("cpu":"10m")",
                            R"("cpu":"0.5")",
                            R"("cpu":2)",
                            R"("timeout":"1ms")",
                            R"("timeout":"24h")",
                            R"("keep_alive":"0s")",
                            R"("concurrency":1000)",
                            R"("min_instances":16)",
                            R"("queue":0)",
                            R"("model":"")",
                            R"("task_options":{})",
                            R"("python":{})",
                            R"("python":{"packages":"none"})",
                            R"("handler":"")",
                            R"("handler":"folder/app.handler")",
                            R"("handler":"pkg.app.handler")",
                            R"("handler":"my-app.Handler_2")",
                            R"("reuse":"warm")",
                            R"("reuse":"clean")",
                            R"("snapshot":"auto")",
                            R"("snapshot":"on")",
                            R"("snapshot":"off")",
                            R"("template_keep_alive":"0ms")",
                            R"("template_keep_alive":"720h")"}) {
    EXPECT_EQ(refusal(field), "") << field;
  }
}

TEST(Manifest, RefusesTheRestAndSaysWhatIsAllowed) {
  const struct {
    const char* field;
    const char* says;
  } rows[] = {
      {R"("memroy":"1GiB")", "unknown field \"memroy\"; did you mean \"memory\"?"},
      {R"("instances":2)", "did you mean \"min_instances\"?"},
      {R"("colour":"red")", "known are name, runtime, model"},
      {R"("python":{"pakages":"host"})",
       "unknown field \"python.pakages\"; did you mean \"python.packages\"?"},
      {R"("packages":"host")", "did you mean \"python.packages\"?"},
      {R"("python":{"python":{"packages":"host"}})", "unknown field \"python.python\""},
      {R"("pyton":{"packages":"host"})", "did you mean \"python\"?"},
      {R"("python.packages":"host")", "is written as python: {packages: …}"},
      {R"("python":"host")", "python: \"host\" is not a map of fields"},
      {R"("python":{"packages":"numpy"})",
       "python.packages: \"numpy\" is not allowed (neither); allowed is `none` or `host`"},
      {R"("handler":"app handler")", "handler: \"app handler\" is not allowed (spaces or control"},
      {R"("handler":"app\u007f")", "spaces or control"},
      {R"("template_keep_alive":"721h")", "allowed is from 0s to 30d"},
      {R"("memory":"lots")",
       "memory: \"lots\" is not allowed (\"lots\" is not a size; write bytes, or a number with "
       "KiB, MiB, GiB or TiB, as in \"512MiB\"); allowed is from 16MiB to 4TiB"},
      {R"("memory":"15MiB")", "memory: \"15MiB\" is not allowed (out of range)"},
      {R"("memory":-1)", "out of range"},
      {R"("memory":1.5)", "not a size"},
      {R"("memory":18446744073709551615)", "not a size"},
      {R"("memory":null)", "memory: null is not allowed"},
      {R"("cpu":0)", "cpu: 0 is not allowed (out of range); allowed is from 0.01 to 1024"},
      {R"("cpu":1e300)", "out of range"},
      {R"("cpu":-0.5)", "out of range"},
      {R"("cpu":true)", "not a share of CPUs"},
      {R"("timeout":30)", "it needs a unit, as in \"30s\""},
      {R"("timeout":"30")", "is not a duration"},
      {R"("timeout":"0s")", "timeout: \"0s\" is not allowed (out of range)"},
      {R"("timeout":"25h")", "allowed is from 1ms to 1d"},
      {R"("keep_alive":"-1s")", "is not a duration"},
      {R"("snapshot":"yes")",
       "snapshot: \"yes\" is not allowed (none of them); allowed is `auto`, `on` or `off`"},
      {R"("snapshot":true)", "snapshot: true is not allowed"},
      {R"("reuse":"no")", "reuse: \"no\" is not allowed (neither); allowed is `warm` or `clean`"},
      {R"("reuse":"clean","concurrency":2)",
       "an instance takes one call, so concurrency is 1, not 2"},
      {R"("concurrency":0)", "allowed is from 1 to 1000"},
      {R"("concurrency":1.5)", "not a whole number"},
      {R"("concurrency":"1")", "not a whole number"},
      {R"("concurrency":9223372036854775807)", "out of range"},
      {R"("min_instances":17)", "min_instances (17) is more than max_instances (16)"},
      {R"("model":"../model.onnx")", "has \".\" or \"..\" in it"},
      {R"("model":"/model.onnx")", "is absolute"},
      {R"("task":"Text Line")", "task: \"Text Line\""},
      {R"("task_options":["keys"])", "not a map"},
      {R"("task_options":{"keys":{"a":1}})", "\"keys\": neither text"},
      {R"("task_options":{"a b":"c"})", "\"a b\" is not a name"},
      {R"("env":{"1A":"b"})", "\"1A\" is not a name"},
      {R"("env":{"A=B":"b"})", "\"A=B\" is not a name"},
      {R"("env":{"A":"\u0000"})", "NUL"},
      {R"("env":{"A":1.5})", "\"A\": neither text nor a whole number; in quotes, it is a text"},
      {R"("network":"inbound")",
       "network: \"inbound\" is not allowed (none of these); allowed is "},
      {R"("network":true)", "none of these"},
      {R"("network":{})", "allow is missing"},
      {R"("network":{"allow":[]})", "allow: not a list"},
      {R"("network":{"allow":"a:1"})", "allow: not a list"},
      {R"("network":{"allow":[80]})", "allow: not a text"},
      {R"("network":{"alow":["a:1"]})", "unknown field \"alow\"; did you mean \"allow\"?"},
      {R"("network":{"allow":["a"]})", "allow: \"a\": no port: write HOST:PORT"},
      {R"("network":{"allow":["127.0.0.1:1"]})", "never reached"},
  };
  for (const auto& row : rows) {
    EXPECT_NE(refusal(row.field).find(row.says), std::string::npos)
        << row.field << ": " << refusal(row.field);
  }
}

TEST(Manifest, WantsAFunctionOfAModuleWhereOneIsCalled) {
  const struct {
    const char* handler;
    const char* says;
  } rows[] = {
      {"", "handler is missing"},
      {"handler", "handler: \"handler\" is not allowed (no \".\" before the function)"},
      {"app.", "no function after the last"},
      {"app.py/handler", "no function after the last"},
      {".handler", "an empty part"},
      {"../app.handler", "an empty part"},
      {"/app.handler", "an empty part"},
      {"a+b.handler", "not a module's name"},
      {"caf\xc3\xa9.handler", "not a module's name"},
      {"app.2", "no function"},
  };
  for (const auto& row : rows) {
    json::object object{{"name", "a"}, {"runtime", "python"}, {"handler", row.handler}};
    const auto refused = read_manifest(object);
    ASSERT_FALSE(refused) << row.handler;
    EXPECT_TRUE(refused.error().message.contains(row.says)) << refused.error().message;
    object["runtime"] = "executable";  // To which it is a word.
    EXPECT_TRUE(read_manifest(object)) << row.handler;
  }
}

TEST(Manifest, ReadsAndWritesNetworks) {
  const struct {
    const char* field;
    const char* written;
  } rows[] = {
      {R"("network":"none")", R"("none")"},
      {R"("network":"outbound")", R"("outbound")"},
      {R"("network":{"allow":["API.example:443","10.0.0.7:5432","api.example:443"]})",
       R"({"allow":["api.example:443","10.0.0.7:5432"]})"},
  };
  for (const auto& row : rows) {
    const auto value = gateway::parse_json(R"({"name":"a","runtime":"python","handler":"a.b",)" +
                                           std::string(row.field) + "}");
    const auto manifest = read_manifest(*value);
    ASSERT_TRUE(manifest) << manifest.error().message;
    const auto written = manifest_json(*manifest);
    EXPECT_EQ(json::serialize(written.at("network")), row.written);
    EXPECT_EQ(*read_manifest(written), *manifest);
  }
  std::string many;
  for (int i = 1; i <= 65; ++i) many += (i > 1 ? ",\"a:" : "\"a:") + std::to_string(i) + "\"";
  EXPECT_NE(refusal(R"("network":{"allow":[)" + many + "]}").find("more than 64"),
            std::string::npos);
}

std::string secrets_refusal(const std::string& field) {
  const auto value = gateway::parse_json(
      R"({"name":"a","runtime":"python","handler":"a.b","env":{"PORT":"80"},)" + field + "}");
  const auto manifest = read_manifest(*value);
  return manifest ? "" : manifest.error().message;
}

TEST(Manifest, NamesSecretsShortlyOrInFull) {
  const auto value = gateway::parse_json(R"({"name":"a","runtime":"python","handler":"a.b",
    "secrets":{"API_KEY":"late","TOKEN":"init","DB":{"secret":"prod-db","when":"init"},
               "OTHER":{"secret":"x"},"OWN":{}}})");
  const auto read = read_manifest(*value);
  ASSERT_TRUE(read) << read.error().message;
  using catalog::When;
  const std::map<std::string, catalog::SecretUse> expected{{"API_KEY", {"API_KEY", When::late}},
                                                           {"TOKEN", {"TOKEN", When::init}},
                                                           {"DB", {"prod-db", When::init}},
                                                           {"OTHER", {"x", When::late}},
                                                           {"OWN", {"OWN", When::late}}};
  EXPECT_EQ(read->secrets, expected);
  EXPECT_EQ(*read_manifest(manifest_json(*read)), *read);
}

TEST(Manifest, RefusesSecretsThatAreNoneAndRepeatsNoValue) {
  const struct {
    const char* field;
    const char* says;
  } rows[] = {
      {R"("secrets":{"A":"sk-live-123"})",
       "secrets: this is not allowed (\"A\": neither `late` nor `init`); allowed is names of "
       "variables, each with `late`, `init` or {secret: NAME, when: late or init}"},
      {R"("secrets":{"A":{"secrt":"sk-live-123"}})",
       "unknown field \"secrt\"; did you mean \"secret\"?"},
      {R"("secrets":{"A":{"secret":"sk live 123"}})", "over 64 bytes, or no name"},
      {R"("secrets":{"A":{"secret":5}})", "secret: not the name of one"},
      {R"("secrets":{"A":{"when":"sk-live-123"}})", "\"A\": when: neither `late` nor `init`"},
      {R"("secrets":{"1A":"late"})", "\"1A\" is not a variable's name"},
      {R"("secrets":["API_KEY"])", "not a map"},
      {R"("secrets":{"PORT":"late"})", "secrets: \"PORT\" is in env, too"},
  };
  for (const auto& row : rows) {
    const std::string said = secrets_refusal(row.field);
    EXPECT_NE(said.find(row.says), said.npos) << row.field << ": " << said;
    EXPECT_EQ(said.find("123"), said.npos) << said;
  }
}

TEST(Manifest, TakesAHandlerOfUpTo255Bytes) {
  const std::string module(247, 'a');
  EXPECT_EQ(refusal(R"("handler":")" + module + R"(.handler")"), "");
  EXPECT_NE(refusal(R"("handler":"a)" + module + R"(.handler")").find("over 255"),
            std::string::npos);
}

TEST(Manifest, WantsAHandlerForPython) {
  const json::object without{{"name", "a"}, {"runtime", "python"}};
  const auto refused = read_manifest(without);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "handler is missing: say module.function, as app.handler");
  json::object with = without;
  with["handler"] = "app.handler";
  EXPECT_TRUE(read_manifest(with));
}

TEST(Manifest, IsWrittenWithItsSections) {
  catalog::Manifest manifest;
  manifest.python_packages = "host";
  const json::object written = manifest_json(manifest);
  EXPECT_EQ(written.at("python"), (json::object{{"packages", "host"}}));
  EXPECT_FALSE(written.contains("python.packages"));
  const json::object schema = manifest_schema();
  const auto& section = schema.at("properties").at("python");
  EXPECT_EQ(section.at("properties").at("packages").at("type"), "string");
  EXPECT_EQ(section.at("additionalProperties"), false);
}

TEST(Manifest, RefusesNamesThatAreNotOne) {
  for (const std::string name : {"", "-a", "a-", "a.b", "a/b", "..", "caf\xc3\xa9", "a b",
                                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                 "aaaaaaa"}) {
    const json::object object{{"name", name}, {"runtime", "onnx"}};
    EXPECT_FALSE(read_manifest(object)) << name;
  }
  EXPECT_FALSE(read_manifest(json::object{{"runtime", "onnx"}}));
  EXPECT_FALSE(read_manifest(json::object{{"name", "a"}}));
  EXPECT_FALSE(read_manifest(json::array{}));
}

}  // namespace
}  // namespace dormouse::control
