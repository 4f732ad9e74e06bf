#include "cli/example_call.h"

#include <boost/json.hpp>
#include <optional>

#include "cli/answers.h"
#include "cli/print.h"
#include "control/manifest.h"

namespace dormouse::cli {
namespace {

constexpr std::size_t typed_max = 200;  // Characters: more than that nobody reads.

struct Example {
  std::string how;      // After "Try it".
  std::string request;  // curl's arguments, but for the URL.
  std::string note;     // Lines below it.
};

std::string of_json(const std::string& body) {
  return " -H 'Content-Type: application/json' --data " + body;
}

json::value zero_of(const std::string& datatype) {
  if (datatype == "BOOL") return false;
  if (datatype == "BYTES") return "";
  return 0;
}

// Nested lists of zeros, of 1 where the size is open; nothing if they are too many to type.
std::optional<json::value> zeros(const json::value& tensor) {
  json::value value = zero_of(text_at(tensor, "datatype"));
  const json::array& shape = list_at(tensor, "shape");
  std::size_t count = 1;
  for (auto size = shape.rbegin(); size != shape.rend(); ++size) {
    const std::int64_t given = size->is_int64() ? size->get_int64() : 1;
    const auto repeated = given < 0 ? std::size_t{1} : static_cast<std::size_t>(given);
    if (repeated > typed_max || (count *= repeated) > typed_max) return std::nullopt;
    value = json::array(repeated, value);
  }
  return value;
}

// {"x": [[0, 0]]}
std::optional<std::string> body_of_zeros(const json::array& inputs) {
  json::object body;
  for (const json::value& input : inputs) {
    const auto value = zeros(input);
    if (!value) return std::nullopt;
    body[text_at(input, "name")] = *value;
  }
  const std::string text = json::serialize(body);
  if (text.size() > typed_max) return std::nullopt;
  return shell_word(harmless(text));
}

Example example_of_tensors(const json::array& inputs) {
  if (const auto body = body_of_zeros(inputs); body && !inputs.empty()) {
    return {", with zeros", of_json(*body), ""};
  }
  std::string note = "\nrequest.json has, as nested lists, {\"INPUT\": [[…]], …}:\n";
  for (const json::value& input : inputs) {
    note += "  " + text_at(input, "name") + "  " + shape_of(input) + "\n";
  }
  return {"", of_json("@request.json"), inputs.empty() ? "" : note};
}

// Language models are spoken to as OpenAI's clients do.
Example example_of_words(const std::string& name, bool chats) {
  const std::string asked =
      chats ? R"("messages": [{"role": "user", "content": "Hello"}]}')" : R"("input": "Hello"}')";
  return {"", of_json(R"('{"model": ")" + name + R"(", )" + asked), ""};
}

}  // namespace

std::string shape_of(const json::value& tensor) {
  std::string text = text_at(tensor, "datatype") + " [";
  for (const json::value& size : list_at(tensor, "shape")) {
    text += (text.ends_with('[') ? "" : ", ") + json::serialize(size);
  }
  return text + "]";
}

std::string url_of(const Shell& shell, const std::string& name, const json::value& revision) {
  const bool is_web = text_at(revision, "manifest.runtime") == "web";
  return shell.url + "/f/" + name + (is_web ? "/" : "");
}

std::string example_call(const Shell& shell, const std::string& name, const json::value& revision) {
  const std::string runtime = text_at(revision, "manifest.runtime");
  const bool chats = !text_at(revision, "notes.chat template").empty();
  std::string url = url_of(shell, name, revision);
  Example example;
  if (control::runs_language_models(runtime)) {
    example = example_of_words(name, chats);
    url = shell.url + (chats ? "/v1/chat/completions" : "/v1/embeddings");
  } else if (!text_at(revision, "manifest.task").empty()) {
    example = {", with a picture of yours",
               " -H 'Content-Type: image/png' --data-binary @picture.png", ""};
  } else if (runtime == "python" || runtime == "node" || runtime == "executable") {
    example = {", for example", of_json(R"('{"name": "you"}')"), ""};
  } else if (runtime != "web") {
    example = example_of_tensors(list_at(revision, "inputs"));
  }
  const std::string key = shell.key.empty() ? "" : " -H \"x-api-key: $DORMOUSE_KEY\"";
  return "Try it" + example.how + ":\n  curl" + key + example.request + " " + url + "\n" +
         example.note;
}

}  // namespace dormouse::cli
