#include "language_model.h"

#include <algorithm>
#include <sstream>

namespace dormouse::probe {
namespace {

// The value of the last `"name":"…"`; nothing in it is escaped.
std::string last_string(std::string_view body, std::string_view name) {
  const std::string key = "\"" + std::string(name) + "\":\"";
  const auto at = body.rfind(key);
  if (at == body.npos) return "";
  body.remove_prefix(at + key.size());
  return std::string(body.substr(0, body.find('"')));
}

std::string usage(std::int64_t words) {
  return R"({"prompt_tokens":10,"completion_tokens":)" + std::to_string(words) +
         R"(,"total_tokens":)" + std::to_string(10 + words) + "}";
}

std::string chunk_head(std::string_view operation) {
  const bool is_chat = operation == "chat.completions";
  return std::string(R"({"id":"x","object":")") +
         (is_chat ? "chat.completion.chunk" : "text_completion") +
         R"(","created":1,"model":"probe","choices":[)";
}

}  // namespace

Said read_request(std::string_view body) {
  std::string text = last_string(body, "content");
  if (text.empty()) text = last_string(body, "prompt");
  if (text.empty()) text = last_string(body, "input");
  Said said;
  std::istringstream words(text);
  words >> said.verb;
  if (said.verb == "remember") words >> said.word;
  words >> said.count >> said.pause_ms;
  said.streams = body.find(R"("stream":true)") != body.npos;
  said.with_usage = body.find(R"("include_usage":true)") != body.npos;
  return said;
}

std::string word_event(std::string_view operation, std::int64_t n) {
  const std::string word = "w" + std::to_string(n) + " ";
  const bool is_chat = operation == "chat.completions";
  return "data: " + chunk_head(operation) + R"({"index":0,"finish_reason":null,)" +
         (is_chat ? R"("delta":{"content":")" + word + R"("}}]})"
                  : R"("text":")" + word + R"("}]})") +
         "\n\n";
}

std::string usage_event(std::int64_t words) {
  return "data: " + chunk_head("chat.completions") + R"(],"usage":)" + usage(words) + "}\n\n";
}

std::vector<std::string> torn_event() {
  const std::string whole = "data: " + chunk_head("chat.completions") +
                            R"({"index":0,"finish_reason":null,"delta":{"content":"größe 😀"}}]})" +
                            "\n\n";
  std::vector<std::string> pieces;
  for (const char c : whole) {
    const bool joins = !pieces.empty() && static_cast<unsigned char>(c) < 0x80 &&
                       static_cast<unsigned char>(pieces.back().back()) < 0x80;
    if (!joins) pieces.emplace_back();  // Each byte beyond ASCII is a piece.
    pieces.back() += c;
  }
  return pieces;
}

std::string whole_answer(std::string_view operation, std::int64_t words) {
  if (operation == "embeddings") {
    return R"({"object":"list","data":[{"object":"embedding","index":0,)"
           R"("embedding":[0.5,-1,0.25]}],"model":"probe",)"
           R"("usage":{"prompt_tokens":10,"total_tokens":10}})";
  }
  std::string text;
  for (std::int64_t n = 1; n <= words; ++n) text += "w" + std::to_string(n) + " ";
  return whole_answer(operation, text, words);
}

std::string whole_answer(std::string_view operation, std::string_view text, std::int64_t words) {
  const bool is_chat = operation == "chat.completions";
  return std::string(R"({"id":"x","object":")") +
         (is_chat ? "chat.completion" : "text_completion") +
         R"(","created":1,"model":"probe","choices":[{"index":0,"finish_reason":"stop",)" +
         (is_chat ? R"("message":{"role":"assistant","content":")" : R"("text":")") +
         std::string(text) + (is_chat ? R"("}}])" : R"("}])") + R"(,"usage":)" + usage(words) + "}";
}

}  // namespace dormouse::probe
