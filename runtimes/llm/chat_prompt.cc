#include "runtimes/llm/chat_prompt.h"

#include <chat.h>
#include <json-schema-to-grammar.h>

#include <algorithm>
#include <array>
#include <exception>
#include <span>

#include "base/bytes.h"
#include "runtimes/llm/json_values.h"
#include "runtimes/llm/sampler.h"

namespace dormouse::llm {
namespace {

// What the template itself says, or what is wrong with it, without where llama.cpp saw it.
Error refused(const std::exception& failure) {
  constexpr std::string_view own_words = "Jinja Exception: ", cause = "\nError: ";
  std::string_view what = failure.what();
  const auto own_at = what.rfind(own_words), cause_at = what.rfind(cause);
  if (own_at != what.npos) {
    what.remove_prefix(own_at + own_words.size());
  } else {
    if (cause_at != what.npos) what.remove_prefix(cause_at + cause.size());
    what = what.substr(0, what.find('\n'));
  }
  if (what == "std::exception") what = "it is no template that can be read (Jinja)";
  if (what == "std::bad_alloc") what = "it takes too much memory";
  return {Code::invalid_argument, "messages: the model's chat template: " + std::string(what)};
}

using Marks = std::vector<std::string>;

// Out of all texts in it, names of members too. False: there was none.
bool take_marks_out(common_json& value, const Marks& marks) {
  if (value.is_string()) {
    const std::string said = value;
    std::string clean = without_marks(said, marks);
    if (clean == said) return false;
    value = std::move(clean);
    return true;
  }
  bool any = false;
  if (value.is_array()) {
    for (common_json& element : value) any = take_marks_out(element, marks) || any;
  }
  if (!value.is_object()) return any;
  bool any_name = false;
  for (const auto& [name, member] : value.items()) {
    any = take_marks_out(member, marks) || any;
    any_name = any_name || without_marks(name, marks) != name;
  }
  if (!any_name) return any;
  common_json clean = common_json::object();
  for (const auto& [name, member] : value.items()) clean[without_marks(name, marks)] = member;
  value = std::move(clean);
  return true;
}

// A template may write the values of them, and what was escaped is a mark there.
std::string arguments_without_marks(const std::string& arguments, const Marks& marks) {
  std::string clean = without_marks(arguments, marks);
  if (!clean.contains('\\')) return clean;
  common_json values = common_json::parse_no_throw(clean);
  if (values.is_discarded() || !take_marks_out(values, marks)) return clean;
  return values.dump_safe();
}

// Templates may write parts one behind the other, and so put a mark together.
void take_marks_out(std::vector<common_chat_msg_content_part>& parts, const Marks& marks) {
  std::string whole;
  for (auto& part : parts) {
    part.text = without_marks(part.text, marks);
    whole += part.text;
  }
  if (without_marks(whole, marks) == whole) return;
  for (auto& part : std::span(parts).first(parts.size() - 1)) part.text += mark_break;
}

void take_marks_out(common_chat_msg& message, const Marks& marks) {
  for (std::string* said :
       {&message.content, &message.reasoning_content, &message.tool_name, &message.tool_call_id}) {
    *said = without_marks(*said, marks);
  }
  take_marks_out(message.content_parts, marks);
  for (common_chat_tool_call& call : message.tool_calls) {
    call.name = without_marks(call.name, marks);
    call.id = without_marks(call.id, marks);
    call.arguments = arguments_without_marks(call.arguments, marks);
  }
}

// What tools say of themselves may be of others than the rest of them, of which a grammar is made.
void take_marks_out_of_descriptions(common_json& value, const Marks& marks) {
  if (value.is_array()) {
    for (common_json& element : value) take_marks_out_of_descriptions(element, marks);
  }
  if (!value.is_object()) return;
  for (const auto& [key, member] : value.items()) {
    if (key == "description" && member.is_string()) {
      take_marks_out(member, marks);
    } else {
      take_marks_out_of_descriptions(member, marks);
    }
  }
}

common_chat_templates_inputs inputs_of(const Request& request, const Marks& marks) {
  common_chat_templates_inputs inputs;
  inputs.messages = common_chat_msgs_parse_oaicompat(common_json::parse(request.messages));
  for (common_chat_msg& message : inputs.messages) take_marks_out(message, marks);
  if (!request.tools.empty()) {
    common_json tools = common_json::parse(request.tools);
    take_marks_out_of_descriptions(tools, marks);
    inputs.tools = common_chat_tools_parse_oaicompat(tools);
  }
  switch (request.tool_choice) {
    case ToolChoice::automatic: inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_AUTO; break;
    case ToolChoice::none: inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_NONE; break;
    case ToolChoice::required: inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED; break;
  }
  inputs.parallel_tool_calls = request.parallel_tool_calls;
  inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
  return inputs;
}

// A grammar of llama.cpp lets the model say what it likes before a call that it has to make, and so
// never come to it: root ::= … until-169? tool-calls
std::string calling_at_once(std::string grammar) {
  constexpr std::string_view root = "root ::= ", talk = " until-", calls = "? tool-call";
  const auto line = grammar.starts_with(root) ? 0 : grammar.find("\n" + std::string(root)) + 1;
  const auto begin = grammar.find(talk, line);
  if (begin == grammar.npos || begin > grammar.find('\n', line)) return grammar;
  const auto digits = grammar.find_first_not_of("0123456789", begin + talk.size());
  if (digits == grammar.npos || !std::string_view(grammar).substr(digits).starts_with(calls)) {
    return grammar;
  }
  return grammar.erase(begin, digits + 1 - begin);
}

// Which parameters there are, and of which types: some templates write each by itself, not JSON.
boost::json::object names_and_types(const boost::json::object& parameters) {
  boost::json::object bare{{"type", "object"}};
  const auto* const properties = parameters.if_contains("properties");
  if (properties == nullptr) return bare;
  boost::json::object named;
  for (const auto& [name, schema] : properties->as_object()) {
    named[name].emplace_object();
    const auto* const type = schema.as_object().if_contains("type");
    if (type != nullptr) named[name].as_object()["type"] = *type;
  }
  bare["properties"] = std::move(named);
  if (const auto* required = parameters.if_contains("required")) bare["required"] = *required;
  return bare;
}

bool is_strict(const boost::json::object& function) {
  const auto* const strict = function.if_contains("strict");
  return strict != nullptr && *strict == true;
}

// Those of the tools that need not be followed.
template <class Change>
std::string with_parameters(std::string_view tools, Change change) {
  boost::json::value all = boost::json::parse(tools, {}, parsing());
  for (boost::json::value& tool : all.as_array()) {
    boost::json::object& function = tool.at("function").as_object();
    auto* const parameters = function.if_contains("parameters");
    if (parameters == nullptr || !parameters->is_object() || is_strict(function)) continue;
    *parameters = change(parameters->as_object());
  }
  return boost::json::serialize(all);
}

// Of whatever has its type.
std::string without_details(const std::string& schema) {
  const boost::json::value all = boost::json::parse(schema, {}, parsing());
  const auto* const type = all.as_object().if_contains("type");
  const boost::json::array any{"object", "array", "string", "number", "boolean", "null"};
  return boost::json::serialize(
      boost::json::object{{"type", type == nullptr ? boost::json::value(any) : *type}});
}

// An answer can be held to what the request asks of its calls.
Result<> check_holds(const ChatPrompt& prompt, const Request& request) {
  if (request.tool_choice == ToolChoice::required && (prompt.grammar.empty() || prompt.lazy)) {
    return Error{Code::unsupported,
                 "tool_choice: by this model's chat template a call is the model's own choice"};
  }
  const bool is_free = request.tool_choice == ToolChoice::automatic && prompt.grammar.empty();
  if (!is_free || request.tools.empty()) return ok;
  const boost::json::value tools = boost::json::parse(request.tools, {}, parsing());
  const auto is_held = [](const auto& tool) { return is_strict(tool.at("function").as_object()); };
  if (std::ranges::none_of(tools.as_array(), is_held)) return ok;
  return Error{
      Code::unsupported,
      "tools: by this model's chat template nothing marks the beginning of a call, and one "
      "that is the model's own choice is held to no schema; leave out \"strict\", or ask "
      "with tool_choice \"required\""};
}

void put(std::string& out, const std::vector<std::string>& texts) {
  dormouse::put(out, static_cast<std::uint32_t>(texts.size()));
  for (const std::string& text : texts) put_sized(out, text);
}

void put(std::string& out, const ChatPrompt& prompt) {
  put_sized(out, prompt.text);
  put_sized(out, prompt.grammar);
  dormouse::put(out, static_cast<std::uint8_t>(prompt.of_tools ? 1 : 0));
  dormouse::put(out, static_cast<std::uint8_t>(prompt.lazy ? 1 : 0));
  dormouse::put(out, static_cast<std::uint32_t>(prompt.triggers.size()));
  for (const Trigger& trigger : prompt.triggers) {
    dormouse::put(out, static_cast<std::int32_t>(trigger.type));
    put_sized(out, trigger.value);
    dormouse::put(out, trigger.token);
  }
  put(out, prompt.kept_tokens);
  put(out, prompt.stops);
  put_sized(out, prompt.thinking_start);
  put(out, prompt.thinking_ends);
  put_sized(out, prompt.parser);
  dormouse::put(out, static_cast<std::int32_t>(prompt.format));
  put_sized(out, prompt.begun);
}

std::vector<std::string> strings(Reader& reader) {
  std::vector<std::string> texts;
  for (auto left = reader.get<std::uint32_t>(); left > 0 && reader.ok(); --left) {
    texts.emplace_back(reader.get_sized());
  }
  return texts;
}

ChatPrompt prompt_said(Reader& reader) {
  ChatPrompt prompt;
  prompt.text = reader.get_sized();
  prompt.grammar = reader.get_sized();
  prompt.of_tools = reader.get<std::uint8_t>() != 0;
  prompt.lazy = reader.get<std::uint8_t>() != 0;
  for (auto left = reader.get<std::uint32_t>(); left > 0 && reader.ok(); --left) {
    const auto type = reader.get<std::int32_t>();
    std::string value(reader.get_sized());
    prompt.triggers.push_back({type, std::move(value), reader.get<Token>()});
  }
  prompt.kept_tokens = strings(reader);
  prompt.stops = strings(reader);
  prompt.thinking_start = reader.get_sized();
  prompt.thinking_ends = strings(reader);
  prompt.parser = reader.get_sized();
  prompt.format = reader.get<std::int32_t>();
  prompt.begun = reader.get_sized();
  return prompt;
}

Error error_said(Reader& reader) {
  const auto said = reader.get<std::uint8_t>();
  Code code = Code::invalid_argument;
  for (const Code known : {Code::unsupported, Code::too_large}) {
    if (said == static_cast<std::uint8_t>(known)) code = known;
  }
  return {code, std::string(reader.rest())};
}

}  // namespace

std::string without_marks(std::string_view said, const std::vector<std::string>& marks) {
  std::array<bool, 256> begins{};
  for (const std::string& mark : marks) begins[static_cast<unsigned char>(mark.front())] = true;
  std::string out;
  out.reserve(said.size());
  for (std::size_t i = 0; i < said.size(); ++i) {
    out += said[i];
    if (!begins[static_cast<unsigned char>(said[i])]) continue;
    const std::string_view rest = said.substr(i);
    if (!std::ranges::any_of(marks, [&](auto& mark) { return rest.starts_with(mark); })) continue;
    const auto is_inside = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
    while (i + 1 < said.size() && is_inside(said[i + 1])) out += said[++i];
    out += mark_break;
  }
  return out;
}

void ChatTemplates::Free::operator()(common_chat_templates* templates) const {
  common_chat_templates_free(templates);
}

ChatTemplates::~ChatTemplates() = default;

Result<std::unique_ptr<ChatTemplates>> ChatTemplates::read(const Model& model,
                                                           const std::string& source) {
  std::unique_ptr<ChatTemplates> read(new ChatTemplates());
  read->vocabulary_ = model.vocabulary();
  read->marks_ = model.marks();
  try {
    read->templates_.reset(common_chat_templates_init(model.model(), source).release());
    read->source_ = common_chat_templates_source(read->templates_.get());
    const Request hello{.messages = R"([{"role":"user","content":"Hello"}])"};
    const auto params = common_chat_templates_apply(read->templates_.get(), inputs_of(hello, {}));
    read->thinks_ = params.supports_thinking;
    const auto can = common_chat_templates_get_caps(read->templates_.get());
    read->calls_tools_ = can.contains("supports_tool_calls") && can.at("supports_tool_calls");
  } catch (const std::exception& failure) {
    return refused(failure);
  }
  return read;
}

Result<ChatPrompt> ChatTemplates::apply(const Request& request) const {
  const std::string& effort = request.reasoning_effort;
  if (!effort.empty() && effort != "none" && !source_.contains("reasoning_effort")) {
    return Error{Code::unsupported, "reasoning_effort: this model has no efforts but \"none\""};
  }
  if (!request.tools.empty() && !calls_tools_ && request.tool_choice != ToolChoice::none) {
    return Error{Code::unsupported, "tools: this model's chat template does not know of tools"};
  }
  try {
    ChatPrompt prompt = loosened(rendered(request), request);
    if (auto good = check_holds(prompt, request); !good) return good.error();
    if (request.tool_choice == ToolChoice::required) {
      prompt.grammar = calling_at_once(std::move(prompt.grammar));
    }
    return prompt;
  } catch (const std::exception& failure) {
    return refused(failure);
  }
}

// What no grammar can be made of, or too large a one, is left out of it, and the model is told all
// the same: what is within the parameters of those tools, or of all, or an answer's schema but for
// its type. What is strict stays.
ChatPrompt ChatTemplates::loosened(ChatPrompt prompt, const Request& request) const {
  const auto is_too_large = [](const ChatPrompt& made) {
    return made.grammar.size() > (made.of_tools ? tools_grammar_bytes_max : grammar_bytes_max);
  };
  const auto can_hold = [&](const ChatPrompt& made) {
    return made.grammar.empty() || (!is_too_large(made) && is_readable(vocabulary_, made.grammar));
  };
  if (can_hold(prompt) || (!prompt.of_tools && request.schema_is_strict)) return prompt;
  const auto of = [&](const Request& less) {
    ChatPrompt loose = rendered(less);
    loose.text = prompt.text;
    return loose;
  };
  Request less = request;
  if (!prompt.of_tools) {
    less.json_schema = without_details(request.json_schema);
    return of(less);
  }
  if (!is_too_large(prompt)) {
    less.tools = with_parameters(request.tools, [this](const boost::json::object& parameters) {
      const auto schema = common_json::parse(boost::json::serialize(parameters));
      const bool is_good = is_readable(vocabulary_, json_schema_to_grammar(schema, true));
      return is_good ? parameters : names_and_types(parameters);
    });
    ChatPrompt loose = of(less);
    if (can_hold(loose)) return loose;
  }
  less.tools = with_parameters(request.tools, names_and_types);
  return of(less);
}

ChatPrompt ChatTemplates::rendered(const Request& request) const {
  common_chat_templates_inputs inputs = inputs_of(request, marks_);
  // To find out how tool calls and thoughts are written takes many renderings.
  inputs.force_pure_content = inputs.tools.empty() && !thinks_;
  if (request.reasoning_effort == "none") {
    inputs.enable_thinking = false;
  } else if (!request.reasoning_effort.empty()) {
    inputs.chat_template_kwargs["reasoning_effort"] = '"' + request.reasoning_effort + '"';
  }
  // Of a model that thinks, the schema is of what follows the thoughts.
  if (!inputs.force_pure_content) inputs.json_schema = request.json_schema;
  common_chat_params params = common_chat_templates_apply(templates_.get(), inputs);
  ChatPrompt prompt{.text = std::move(params.prompt),
                    .grammar = std::move(params.grammar),
                    .lazy = params.grammar_lazy,
                    .kept_tokens = std::move(params.preserved_tokens),
                    .stops = std::move(params.additional_stops),
                    .thinking_start = std::move(params.thinking_start_tag),
                    .thinking_ends = std::move(params.thinking_end_tags)};
  prompt.of_tools =
      !request.tools.empty() && request.tool_choice != ToolChoice::none && !prompt.grammar.empty();
  for (const common_grammar_trigger& trigger : params.grammar_triggers) {
    prompt.triggers.push_back({trigger.type, trigger.value, trigger.token});
  }
  if (!request.json_schema.empty() && inputs.force_pure_content) {
    prompt.grammar = json_schema_to_grammar(common_json::parse(request.json_schema), true);
    prompt.lazy = false;
  }
  if (!inputs.force_pure_content) {
    prompt.parser = std::move(params.parser);
    prompt.format = params.format;
    prompt.begun = std::move(params.generation_prompt);
  }
  return prompt;
}

// The first byte says whether it is a prompt; of an error the second is its code.
std::string encode(const Result<ChatPrompt>& rendered) {
  std::string out;
  if (rendered) {
    out = "+";
    put(out, *rendered);
  } else {
    out = "-";
    dormouse::put(out, static_cast<std::uint8_t>(rendered.error().code));
    out += rendered.error().message;
  }
  return out;
}

Result<ChatPrompt> decode_chat_prompt(std::string_view payload) {
  Reader reader(payload);
  if (reader.get<char>() != '+') return error_said(reader);
  ChatPrompt prompt = prompt_said(reader);
  if (!reader.ok()) return Error{Code::function_failed, "a rendered chat is cut off"};
  return prompt;
}

}  // namespace dormouse::llm
