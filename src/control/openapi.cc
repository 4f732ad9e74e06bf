#include <boost/json.hpp>

#include "base/ascii.h"
#include "control/manifest_pages.h"
#include "control/routes.h"

namespace dormouse::control {
namespace {

// The forms of requests and answers. "Any" is anything. Every object is closed: what is not listed
// is not there, which a test holds over real answers.
constexpr std::string_view schemas = R"json({
"Any": {},
"Error": {"type":"object","required":["error"],"properties":{"error":{"$ref":"#/components/schemas/Fault"}}},
"Fault": {"type":"object","required":["code","message","blame"],"properties":{
  "code":{"type":"string"},"message":{"type":"string"},
  "blame":{"type":"string","enum":["caller","function","platform"]},"invocation":{"type":"string"}}},
"Node": {"type":"object","required":["name","version","data","listen","started","memory_bytes","cpu_millicores","currency","runtimes","functions"],"properties":{
  "name":{"type":"string"},"version":{"type":"string"},"data":{"type":"string"},"listen":{"type":"string"},
  "started":{"type":"string"},"memory_bytes":{"type":"integer"},"cpu_millicores":{"type":"integer"},
  "currency":{"type":"string"},"runtimes":{"type":"array","items":{"type":"string"}},"functions":{"type":"integer"}}},
"Findings": {"type":"object","required":["findings"],"properties":{"findings":{"type":"array","items":{"$ref":"#/components/schemas/Finding"}}}},
"Finding": {"type":"object","required":["grade","what","cost"],"properties":{
  "grade":{"type":"string","enum":["good","degraded","missing"]},"what":{"type":"string"},"cost":{"type":"string"}}},
"Digests": {"type":"object","required":["digests"],"properties":{"digests":{"type":"array","items":{"type":"string"}}}},
"Missing": {"type":"object","required":["missing"],"properties":{"missing":{"type":"array","items":{"type":"object",
  "required":["digest","uploaded"],"properties":{"digest":{"type":"string"},"uploaded":{"type":"integer"}}}}}},
"Uploaded": {"type":"object","required":["uploaded"],"properties":{"uploaded":{"type":"integer"}}},
"File": {"type":"object","required":["path","digest","size"],"properties":{
  "path":{"type":"string"},"digest":{"type":"string"},"size":{"type":"integer"}}},
"Deploy": {"type":"object","required":["manifest","files"],"properties":{
  "manifest":{"$ref":"#/components/schemas/Manifest"},"files":{"type":"array","items":{"$ref":"#/components/schemas/File"}}}},
"DeployLine": {"type":"object","required":[],"properties":{"progress":{"type":"string"},"printed":{"type":"string"},
  "revision":{"$ref":"#/components/schemas/RevisionDetail"},"unchanged":{"type":"boolean"},
  "error":{"$ref":"#/components/schemas/Fault"}}},
"Functions": {"type":"object","required":["functions"],"properties":{"functions":{"type":"array","items":{"$ref":"#/components/schemas/Summary"}}}},
"Function": {"type":"object","required":["function"],"properties":{"function":{"$ref":"#/components/schemas/Detail"}}},
"Summary": {"type":"object","required":["name","url","revision","runtime","created","state","template","instances","running","queued","memory_bytes","calls","failed"],"properties":{
  "name":{"type":"string"},"url":{"type":"string"},"revision":{"type":"integer"},"runtime":{"type":"string"},
  "created":{"type":"string"},"state":{"type":"string","enum":["asleep","template","stopping","waiting","waking","dozing","awake"]},
  "template":{"type":"boolean"},
  "instances":{"$ref":"#/components/schemas/Instances"},"running":{"type":"integer"},"queued":{"type":"integer"},
  "memory_bytes":{"type":"integer"},"calls":{"type":"integer"},"failed":{"type":"integer"}}},
"Instances": {"type":"object","required":["starting","busy","dozing","stopping"],"properties":{
  "starting":{"type":"integer"},"busy":{"type":"integer"},"dozing":{"type":"integer"},"stopping":{"type":"integer"}}},
"Detail": {"type":"object","required":["summary","wakes","wake_expected_ms","waits_for_memory","last_start_error","revision"],"properties":{
  "summary":{"$ref":"#/components/schemas/Summary"},"wake_expected_ms":{"type":"number"},
  "waits_for_memory":{"type":"boolean"},
  "wakes":{"type":"array","items":{"type":"object","required":["rung","count","median_ms"],"properties":{
    "rung":{"type":"string"},"count":{"type":"integer"},"median_ms":{"type":"number"}}}},
  "template":{"$ref":"#/components/schemas/Pages"},"instance":{"$ref":"#/components/schemas/Pages"},
  "last_start_error":{"type":"string"},"revision":{"$ref":"#/components/schemas/RevisionDetail"}}},
"Pages": {"type":"object","required":["anonymous_bytes","huge_page_bytes","own_bytes"],"properties":{
  "anonymous_bytes":{"type":"integer"},"huge_page_bytes":{"type":"integer"},"own_bytes":{"type":"integer"}}},
"Revisions": {"type":"object","required":["revisions"],"properties":{"revisions":{"type":"array","items":{"$ref":"#/components/schemas/RevisionSummary"}}}},
"Revision": {"type":"object","required":["revision"],"properties":{"revision":{"$ref":"#/components/schemas/RevisionDetail"}}},
"RevisionSummary": {"type":"object","required":["number","label","digest","created","active","files","bytes"],"properties":{
  "number":{"type":"integer"},"label":{"type":"string"},"digest":{"type":"string"},"created":{"type":"string"},
  "active":{"type":"boolean"},"files":{"type":"integer"},"bytes":{"type":"integer"}}},
"RevisionDetail": {"type":"object","required":["number","label","digest","created","manifest","files","notes","inputs","outputs"],"properties":{
  "number":{"type":"integer"},"label":{"type":"string"},"digest":{"type":"string"},"created":{"type":"string"},
  "manifest":{"$ref":"#/components/schemas/Manifest"},
  "files":{"type":"array","items":{"$ref":"#/components/schemas/File"}},
  "notes":{"type":"object","additionalProperties":{"type":"string"}},
  "inputs":{"type":"array","items":{"$ref":"#/components/schemas/Tensor"}},
  "outputs":{"type":"array","items":{"$ref":"#/components/schemas/Tensor"}}}},
"Tensor": {"type":"object","required":["name","datatype","shape"],"properties":{
  "name":{"type":"string"},"datatype":{"type":"string"},"shape":{"type":"array","items":{"type":"integer"}}}},
"Rollback": {"type":"object","required":[],"properties":{"revision":{"type":"integer"}}},
"Conversations": {"type":"object","required":["conversations"],"properties":{"conversations":{"type":"array","items":{"$ref":"#/components/schemas/Conversation"}}}},
"Conversation": {"type":"object","required":["id","revision_digest","bytes","used"],"properties":{"id":{"type":"string"},
  "revision_digest":{"type":"string"},"bytes":{"type":"integer"},"used":{"type":"string"}}},
"Secrets": {"type":"object","required":["secrets"],"properties":{"secrets":{"type":"array","items":{"$ref":"#/components/schemas/Secret"}}}},
"SecretSet": {"type":"object","required":["secret"],"properties":{"secret":{"$ref":"#/components/schemas/Secret"}}},
"Secret": {"type":"object","required":["name","version","set","functions"],"properties":{"name":{"type":"string"},
  "version":{"type":"integer"},"set":{"type":"string"},"functions":{"type":"array","items":{"type":"string"}}}},
"Removed": {"type":"object","required":["removed"],"properties":{"removed":{"type":"string"}}},
"LogLine": {"type":"object","required":["sequence","at","revision","instance","invocation","text"],"properties":{
  "sequence":{"type":"integer"},"at":{"type":"string"},"revision":{"type":"integer"},"instance":{"type":"string"},
  "invocation":{"type":"string"},"text":{"type":"string"}}},
"Usage": {"type":"object","required":["since","currency","sums"],"properties":{"since":{"type":"string"},"currency":{"type":"string"},
  "sums":{"type":"array","items":{"$ref":"#/components/schemas/Sum"}}}},
"Sum": {"type":"object","required":["function","calls","failed","billed_ms","mib_ms","price"],"properties":{
  "function":{"type":"string"},"calls":{"type":"integer"},"failed":{"type":"integer"},"billed_ms":{"type":"integer"},
  "mib_ms":{"type":"integer"},"price":{"type":"string"},"tokens":{"$ref":"#/components/schemas/Tokens"}}},
"Tokens": {"type":"object","required":["prompt_read","prompt_reused","generated"],"properties":{"prompt_read":{"type":"integer"},
  "prompt_reused":{"type":"integer"},"generated":{"type":"integer"}}},
"Receipts": {"type":"object","required":["invocation","receipts"],"properties":{"invocation":{"type":"string"},
  "receipts":{"type":"array","items":{"$ref":"#/components/schemas/Receipt"}}}},
"Receipt": {"type":"object","required":["invocation","attempt","function","revision","revision_digest","node","at","outcome","interrupted","rung","queue_ms","wake","run_ms","billed_ms","declared_memory_bytes","peak_memory_bytes","cpu_ms","shared","request_bytes","response_bytes","price","currency"],"properties":{
  "invocation":{"type":"string"},"attempt":{"type":"integer"},"function":{"type":"string"},"revision":{"type":"integer"},
  "revision_digest":{"type":"string"},"node":{"type":"string"},"at":{"type":"string"},"outcome":{"type":"string"},
  "interrupted":{"type":"boolean"},"rung":{"type":"string"},"queue_ms":{"type":"number"},
  "wake":{"type":"object","required":["sandbox_ms","code_ms","load_ms"],"properties":{"sandbox_ms":{"type":"number"},"code_ms":{"type":"number"},"load_ms":{"type":"number"}}},
  "run_ms":{"type":"number"},"billed_ms":{"type":"integer"},"declared_memory_bytes":{"type":"integer"},
  "peak_memory_bytes":{"type":"integer"},"cpu_ms":{"type":"number"},"shared":{"type":"boolean"},
  "request_bytes":{"type":"integer"},"response_bytes":{"type":"integer"},"price":{"type":"string"},"currency":{"type":"string"},
  "tokens":{"$ref":"#/components/schemas/Tokens"}}}
})json";

std::string reference(std::string_view schema) {
  return "#/components/schemas/" + std::string(schema);
}

json::object content(std::string_view type, std::string_view schema) {
  json::object form;
  form["schema"] = json::object{{"$ref", reference(schema)}};
  json::object types;
  types[type] = std::move(form);
  return json::object{{"content", std::move(types)}};
}

json::object parameter(std::string_view name, std::string_view place, std::string_view meaning) {
  return {{"name", name},
          {"in", place},
          {"required", place == "path"},
          {"description", meaning},
          {"schema", json::object{{"type", "string"}}}};
}

json::array parameters_of(const Route& route) {
  json::array all;
  for (auto rest = route.pattern; rest.find('{') != rest.npos;) {
    rest.remove_prefix(rest.find('{') + 1);
    all.push_back(parameter(rest.substr(0, rest.find('}')), "path", ""));
  }
  for (const Parameter& each : route.query) {
    all.push_back(parameter(each.name, "query", each.meaning));
  }
  return all;
}

json::object operation_of(const Route& route) {
  auto answer = content(route.streams ? "application/x-ndjson" : "application/json", route.schema);
  answer["description"] = "The answer.";
  auto failure = content("application/json", "Error");
  failure["description"] = "What went wrong, and whose fault it is.";
  json::object operation{
      {"summary", route.meaning},
      {"parameters", parameters_of(route)},
      {"responses", json::object{{"200", std::move(answer)}, {"default", std::move(failure)}}}};
  if (route.accepts == Accepts::bytes) {
    operation["requestBody"] = content("application/octet-stream", "Any");
  }
  if (route.accepts == Accepts::json) {
    operation["requestBody"] = content("application/json", route.takes);
  }
  return operation;
}

}  // namespace

std::string openapi_document(std::string_view version) {
  json::object paths;
  for (const Route& route : routes()) {
    json::value& path = paths[route.pattern];
    if (!path.is_object()) path = json::object();
    path.get_object()[lower(route.method)] = operation_of(route);
  }
  json::object components = json::parse(schemas).as_object();
  components["Manifest"] = manifest_schema();
  const json::object bearer{{"type", "http"}, {"scheme", "bearer"}};
  const json::object field{{"type", "apiKey"}, {"in", "header"}, {"name", "x-api-key"}};
  const json::object document{
      {"openapi", "3.1.0"},
      {"info", json::object{{"title", "dormouse control API"}, {"version", version}}},
      {"paths", std::move(paths)},
      {"security", json::array{json::object{{"bearer", json::array()}},
                               json::object{{"key", json::array()}}, json::object()}},
      {"components",
       json::object{{"schemas", std::move(components)},
                    {"securitySchemes", json::object{{"bearer", bearer}, {"key", field}}}}}};
  return json::serialize(document);
}

std::string api_page() {
  std::string page =
      "# The control API\n\n"
      "What the command line uses, under `/api/v1`. The OpenAPI 3.1 document is served at\n"
      "`/api/v1/openapi.json`. Bodies are JSON in UTF-8 unless a row says otherwise; a stream is\n"
      "`application/x-ndjson`, one JSON object a line. With a key file, every request carries a "
      "key as\n`Authorization: Bearer KEY` or `x-api-key: KEY`. The `Host` must be one that the "
      "node is known by,\nand an `Origin` must match it, so that no web page can drive the node: "
      "anything else is 403.\n\n"
      "Errors are `{\"error\": {\"code\", \"message\", \"blame\", \"invocation\"?}}`; `blame` is "
      "`caller`,\n`function` or `platform`. 429 and 503 come with `Retry-After`.\n";
  for (const Route& route : routes()) {
    page += "\n## " + std::string(route.method) + " " + std::string(route.pattern) + "\n\n" +
            std::string(route.meaning) + "\n";
    if (!route.query.empty()) page += "\n| parameter | meaning |\n|---|---|\n";
    for (const Parameter& each : route.query) {
      page += "| `" + std::string(each.name) + "` | " + std::string(each.meaning) + " |\n";
    }
    if (route.accepts == Accepts::json) {
      page += "\nTakes `application/json`, a `" + std::string(route.takes) + "`.";
    }
    if (route.accepts == Accepts::bytes) page += "\nTakes `application/octet-stream`.";
    page += std::string(route.accepts == Accepts::nothing ? "\n" : "\n\n") + "Answers with " +
            (route.streams ? "a stream of `" : "a `") + std::string(route.schema) + "`.\n";
  }
  return page;
}

}  // namespace dormouse::control
