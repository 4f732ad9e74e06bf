#include "runtimes/llm/request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <limits>

#include "runtimes/llm/chat_fields.h"
#include "runtimes/llm/json_values.h"

namespace dormouse::llm {
namespace {

namespace json = boost::json;

// ---- one function for each field, or for each kind of field

using Read = Result<>(Request&, Field, Value);

template <class T>
T& of(Request& request, T Request::* member) {
  return request.*member;
}
template <class T>
T& of(Request& request, T Sampling::* member) {
  return request.sampling.*member;
}

template <auto member, std::int64_t least, std::int64_t most>
Result<> read_number(Request& request, Field field, Value value) {
  const auto given = number(field, value, least, most);
  if (!given) return given.error();
  of(request, member) = static_cast<float>(*given);
  return ok;
}

template <auto member>
Result<> read_flag(Request& request, Field field, Value value) {
  const auto given = flag(field, value);
  if (!given) return given.error();
  of(request, member) = *given;
  return ok;
}

template <auto member, std::int64_t least, std::int64_t most>
Result<> read_count(Request& request, Field field, Value value) {
  const auto given = whole(field, value, least, most);
  if (!given) return given.error();
  of(request, member) = static_cast<std::int32_t>(*given);
  return ok;
}

// What only labels a request, for whoever reads logs elsewhere, and the model's name, which whoever
// sent the request here has read.
Result<> read_label(Request&, Field field, Value value) {
  const auto given = text(field, value);
  return given ? Result<>(ok) : given.error();
}
Result<> read_labels(Request&, Field field, Value value) {
  return value.is_object() ? Result<>(ok) : refused(field, "expected an object");
}

// The daemon has read it.
Result<> read_conversation(Request& request, Field field, Value value) {
  const json::object* object = value.if_object();
  if (object == nullptr) return read_label(request, field, value);
  for (const auto& [key, given] : *object) {
    if (key == "id" || given.is_null()) continue;
    return not_done(std::string(field) + "." + std::string(std::string_view(key).substr(0, 64)),
                    "is not supported");
  }
  const json::value* id = object->if_contains("id");
  return read_label(request, "conversation.id", id == nullptr ? json::value() : *id);
}

Result<> read_texts(Request& request, Field field, Value value) {
  auto given = texts(field, value);
  if (!given) return std::move(given).error();
  request.texts = std::move(*given);
  return ok;
}

// Any 64-bit number is a seed to OpenAI; it is folded into the 32 bits that sampling takes.
Result<> read_seed(Request& request, Field field, Value value) {
  const auto given = whole(field, value, std::numeric_limits<std::int64_t>::min(),
                           std::numeric_limits<std::int64_t>::max());
  if (!given) return given.error();
  const auto bits = static_cast<std::uint64_t>(*given);
  constexpr std::uint32_t at_random = 0xFFFFFFFF;  // What llama.cpp takes for "none".
  const auto folded = static_cast<std::uint32_t>(bits ^ (bits >> 32));
  request.sampling.seed = folded == at_random ? 0 : folded;
  return ok;
}

Result<> read_stop(Request& request, Field field, Value value) {
  constexpr std::size_t stops_max = 4, bytes_max = 1024;
  const json::array one{value};
  if (!value.is_string() && !value.is_array()) {
    return refused(field, "expected a string, or an array of at most 4");
  }
  const json::array& all = value.is_array() ? value.get_array() : one;
  if (all.size() > stops_max) return refused(field, "at most 4 sequences");
  for (const json::value& stop : all) {
    if (!stop.is_string()) return refused(field, "expected strings");
    if (stop.get_string().empty() || stop.get_string().size() > bytes_max) {
      return refused(field, "a sequence has 1 to 1024 bytes");
    }
    request.stop.emplace_back(stop.get_string());
  }
  return ok;
}

Result<> read_logit_bias(Request& request, Field field, Value value) {
  constexpr std::size_t biases_max = 1024;
  if (!value.is_object()) return refused(field, "expected an object of tokens and biases");
  if (value.get_object().size() > biases_max) return refused(field, "at most 1024 tokens");
  for (const auto& [key, bias] : value.get_object()) {
    Token token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0) {
      return refused(field, "\"" + std::string(key) + "\" is not the number of a token");
    }
    const auto given = number(field, bias, -100, 100);
    if (!given) return given.error();
    // -100 is a ban, by OpenAI's words.
    const bool banned = *given <= -100;
    request.sampling.logit_bias.emplace_back(
        token, banned ? -std::numeric_limits<float>::infinity() : static_cast<float>(*given));
  }
  return ok;
}

constexpr std::int32_t top_logprobs_max = 20;

Result<> read_chat_logprobs(Request& request, Field field, Value value) {
  const auto given = flag(field, value);
  if (!given) return given.error();
  if (*given && !request.logprobs) request.logprobs = 0;
  if (!*given && request.logprobs) return refused("top_logprobs", "wants \"logprobs\": true");
  return ok;
}

Result<> read_text_logprobs(Request& request, Field field, Value value) {
  const auto given = whole(field, value, 0, top_logprobs_max);
  if (!given) return given.error();
  request.logprobs = static_cast<std::int32_t>(*given);
  return ok;
}

Result<> read_stream_options(Request& request, Field field, Value value) {
  if (!value.is_object()) return refused(field, "expected an object");
  for (const auto& [key, option] : value.get_object()) {
    const std::string name = std::string(field) + "." + std::string(key);
    const auto given = flag(name, option);
    if (!given) return given.error();
    if (key == "include_usage") {
      request.include_usage = *given;
    } else if (key != "include_obfuscation") {
      return not_done(name, "is not supported");
    } else if (*given) {
      return not_done(name, "is not supported: chunks are as long as what they say");
    }
  }
  return ok;
}

Result<> read_reasoning_effort(Request& request, Field field, Value value) {
  constexpr std::string_view efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
  const bool known =
      value.is_string() &&
      std::ranges::find(efforts, std::string_view(value.get_string())) != std::end(efforts);
  if (!known) return refused(field, "expected none, minimal, low, medium, high or xhigh");
  request.reasoning_effort = std::string(value.get_string());
  return ok;
}

Result<> read_encoding(Request& request, Field field, Value value) {
  if (value == "float") return ok;
  if (value != "base64") return refused(field, "expected float or base64");
  request.base64 = true;
  return ok;
}

// What is fine as long as it asks for nothing.
Result<> read_false(Request&, Field field, Value value) {
  if (value.is_bool() && !value.get_bool()) return ok;
  return not_done(field, "is not supported");
}
Result<> read_one(Request&, Field field, Value value) {
  if (value == 1) return ok;
  return not_done(field, "is not supported");
}
Result<> read_text_modality(Request&, Field field, Value value) {
  if (value == json::array{"text"}) return ok;
  return not_done(field, "only [\"text\"] is supported");
}
Result<> read_service_tier(Request&, Field field, Value value) {
  if (value == "auto" || value == "default") return ok;
  return not_done(field, "there is but one tier here: auto or default");
}

constexpr unsigned chat = 1, completion = 2, embedding = 4;
constexpr unsigned generating = chat | completion, all = generating | embedding;
constexpr std::int64_t tokens_most = std::numeric_limits<std::int32_t>::max();

// The limit's other name, which has been read.
Result<> read_completion_tokens(Request& request, Field field, Value value) {
  const auto other = request.tokens_max;
  auto good = read_count<&Request::tokens_max, 1, tokens_most>(request, field, value);
  if (good && other && other != request.tokens_max) {
    return refused(field, "\"max_tokens\" says another number");
  }
  return good;
}

struct Entry {
  std::string_view name;
  unsigned operations;
  Read* read;
};

// In the order in which they are read: `tools` before what chooses among them, a limit before its
// other name.
constexpr Entry entries[] = {
    {"model", all, read_label},
    {"messages", chat, read_messages},
    {"prompt", completion, read_texts},
    {"input", embedding, read_texts},
    {"temperature", generating, read_number<&Sampling::temperature, 0, 2>},
    {"top_p", generating, read_number<&Sampling::top_p, 0, 1>},
    {"min_p", generating, read_number<&Sampling::min_p, 0, 1>},
    {"top_k", generating, read_count<&Sampling::top_k, 0, tokens_most>},
    {"frequency_penalty", generating, read_number<&Sampling::frequency_penalty, -2, 2>},
    {"presence_penalty", generating, read_number<&Sampling::presence_penalty, -2, 2>},
    {"seed", generating, read_seed},
    {"logit_bias", generating, read_logit_bias},
    {"ignore_eos", generating, read_flag<&Sampling::ignore_eos>},
    {"n", generating, read_count<&Request::choices, 1, choices_max>},
    {"max_tokens", generating, read_count<&Request::tokens_max, 1, tokens_most>},
    {"max_completion_tokens", chat, read_completion_tokens},
    {"stop", generating, read_stop},
    {"top_logprobs", chat, read_count<&Request::logprobs, 0, top_logprobs_max>},
    {"logprobs", chat, read_chat_logprobs},
    {"logprobs", completion, read_text_logprobs},
    {"stream", generating, read_flag<&Request::stream>},
    {"stream_options", generating, read_stream_options},
    {"response_format", chat, read_response_format},
    {"tools", chat, read_tools},
    {"tool_choice", chat, read_tool_choice},
    {"parallel_tool_calls", chat, read_flag<&Request::parallel_tool_calls>},
    {"reasoning_effort", chat, read_reasoning_effort},
    {"echo", completion, read_flag<&Request::echo>},
    {"best_of", completion, read_one},
    {"encoding_format", embedding, read_encoding},
    {"dimensions", embedding, read_count<&Request::dimensions, 1, tokens_most>},
    {"modalities", chat, read_text_modality},
    {"service_tier", generating, read_service_tier},
    {"store", chat, read_false},
    {"user", all, read_label},
    {"metadata", chat, read_labels},
    {"conversation", generating, read_conversation},
    {"prompt_cache_key", chat, read_label},
    {"prompt_cache_retention", chat, read_label},
    {"safety_identifier", chat, read_label},
};

unsigned bit(Operation operation) {
  return 1U << static_cast<unsigned>(operation);
}

Result<> check_names(const json::object& body, Operation operation) {
  for (const auto& [key, value] : body) {
    bool elsewhere = false, here = false;
    for (const Entry& entry : entries) {
      if (entry.name != std::string_view(key)) continue;
      here = here || (entry.operations & bit(operation)) != 0;
      elsewhere = true;
    }
    if (here || value.is_null()) continue;
    if (elsewhere) return refused(key, "does not belong to this kind of request");
    const std::string_view name = std::string_view(key).substr(0, 64);
    return not_done(name, "is not supported");
  }
  return ok;
}

Result<Operation> operation(std::string_view wanted, const json::object& body) {
  if (wanted == "chat.completions") return Operation::chat;
  if (wanted == "completions") return Operation::completion;
  if (wanted == "embeddings") return Operation::embedding;
  if (!wanted.empty()) {
    return not_done("body", "\"" + std::string(wanted) + "\" is not an output of a language model");
  }
  if (body.contains("messages")) return Operation::chat;
  if (body.contains("prompt")) return Operation::completion;
  if (body.contains("input")) return Operation::embedding;
  return refused("body", "expected \"messages\", \"prompt\" or \"input\"");
}

Result<> check_whole(const Request& request) {
  const bool has_input = !request.messages.empty() || !request.texts.empty();
  if (!has_input) {
    constexpr std::string_view names[] = {"messages", "prompt", "input"};
    return refused(names[static_cast<std::size_t>(request.operation)], "is missing");
  }
  if (request.include_usage && !request.stream) {
    return refused("stream_options", "wants \"stream\": true");
  }
  if (request.texts.size() * static_cast<std::size_t>(request.choices) > texts_max) {
    return refused("n", "prompts times choices are over " + std::to_string(texts_max));
  }
  if (request.echo && request.logprobs) {
    return not_done("logprobs", "is not supported together with echo");
  }
  if (request.sampling.ignore_eos && !request.json_schema.empty()) {
    return refused("ignore_eos", "what follows a schema has an end");
  }
  const bool may_call = !request.tools.empty() && request.tool_choice != ToolChoice::none;
  if (may_call && !request.json_schema.empty()) {
    return not_done("response_format",
                    "is supported together with tools only if tool_choice is none");
  }
  return ok;
}

}  // namespace

Result<Request> read_request(std::string_view wanted, std::string_view body) {
  const auto value = parsed(body);
  if (!value) return value.error();
  const json::object* object = value->if_object();
  if (object == nullptr) return refused("body", "expected an object");
  const auto what = operation(wanted, *object);
  if (!what) return what.error();
  if (auto known = check_names(*object, *what); !known) return known.error();

  if (wanted.empty() && object->contains("conversation")) {
    return refused("conversation", "name it in the header Dormouse-Conversation here");
  }
  Request request{.operation = *what};
  for (const Entry& entry : entries) {
    const json::value* given = object->if_contains(entry.name);
    if (given == nullptr || given->is_null() || (entry.operations & bit(*what)) == 0) continue;
    if (auto read = entry.read(request, entry.name, *given); !read) return read.error();
  }
  constexpr std::int32_t completion_tokens = 16;  // OpenAI's default, of these only.
  if (*what == Operation::completion && !request.tokens_max) request.tokens_max = completion_tokens;
  const json::value* const logprobs = object->if_contains("logprobs");
  const bool says_whether = logprobs != nullptr && !logprobs->is_null();
  if (request.logprobs && *what == Operation::chat && !says_whether) {
    return refused("top_logprobs", "wants \"logprobs\": true");
  }
  if (auto good = check_whole(request); !good) return good.error();
  return request;
}

}  // namespace dormouse::llm
