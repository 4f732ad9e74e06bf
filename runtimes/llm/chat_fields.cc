#include "runtimes/llm/chat_fields.h"

#include <algorithm>

#include "runtimes/llm/schema.h"

namespace dormouse::llm {
namespace {

namespace json = boost::json;

using Check = Result<>(const std::string& field, const json::value&);

Result<> check_each(std::string_view field, const json::array& all, Check* check) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string at = std::string(field) + "[" + std::to_string(i) + "]";
    if (auto good = check(at, all[i]); !good) return good;
  }
  return ok;
}

const json::value* member(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(name);
  return found != nullptr && found->is_null() ? nullptr : found;
}

// What asks for something that nobody here does is never passed over.
Result<> check_members(const std::string& field, const json::object& object,
                       std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object) {
    if (value.is_null() || std::ranges::find(known, std::string_view(key)) != known.end()) continue;
    return not_done(field + "." + std::string(std::string_view(key).substr(0, 64)),
                    "is not supported");
  }
  return ok;
}

// A member that may be missing, or null.
Result<> check_if_given(const std::string& field, const json::object& object,
                        const std::string& name, Check* check) {
  const json::value* given = member(object, name);
  return given == nullptr ? Result<>(ok) : check(field + "." + name, *given);
}

Result<> check_text(const std::string& field, const json::value& value) {
  const auto given = text(field, value);
  return given ? Result<>(ok) : given.error();
}

Result<> check_flag(const std::string& field, const json::value& value) {
  const auto given = flag(field, value);
  return given ? Result<>(ok) : given.error();
}

// What `function` of a tool and `json_schema` of a format have in common.
Result<> check_described(const std::string& field, const json::object& object,
                         std::string_view schema) {
  auto good = check_members(field, object, {"name", "description", schema, "strict"});
  if (good) good = check_if_given(field, object, "name", check_text);
  if (good) good = check_if_given(field, object, "description", check_text);
  if (good) good = check_if_given(field, object, "strict", check_flag);
  return good;
}

// A schema, by what stands beside it.
Holds holds(const json::object& described) {
  const json::value* strict = member(described, "strict");
  return strict != nullptr && strict->get_bool() ? Holds::all : Holds::some;
}

Result<> check_part(const std::string& field, const json::value& part) {
  const json::object* object = part.if_object();
  const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return refused(field, "expected an object with a \"type\"");
  }
  if (type->get_string() != "text" && type->get_string() != "refusal") {
    return not_done(field + ".type",
                    "only \"text\" is understood, not \"" + std::string(type->get_string()) + "\"");
  }
  const json::value* said = object->if_contains(type->get_string());
  if (said == nullptr || !said->is_string()) return refused(field, "has no text");
  return check_members(field, *object, {"type", type->get_string()});
}

// One that a model has made, as a client sends it back: an SDK with what it has parsed, and with
// which of a stream's calls it was.
Result<> check_call(const std::string& field, const json::value& call) {
  const json::object* object = call.if_object();
  if (object == nullptr) return refused(field, "expected an object");
  auto known = check_members(field, *object, {"id", "type", "function", "index"});
  if (!known) return known;
  const json::value* type = member(*object, "type");
  if (type != nullptr && *type != "function") {
    return not_done(field + ".type", "only \"function\" is understood");
  }
  const json::value* function = member(*object, "function");
  if (function == nullptr || !function->is_object()) {
    return refused(field + ".function", "expected an object");
  }
  known = check_members(field + ".function", function->get_object(),
                        {"name", "arguments", "parsed_arguments"});
  if (!known) return known;
  for (const char* name : {"name", "arguments"}) {
    const json::value* value = member(function->get_object(), name);
    if (value == nullptr || !value->is_string()) {
      return refused(field + ".function." + name, "expected a string");
    }
  }
  return check_if_given(field, *object, "id", check_text);
}

Result<> check_calls(const std::string& field, const json::value& value) {
  if (!value.is_array()) return refused(field, "expected an array");
  return check_each(field, value.get_array(), check_call);
}

Result<> check_content(const std::string& field, const json::value& content) {
  if (content.is_string()) return ok;
  if (!content.is_array()) return refused(field, "expected a string, or an array of parts");
  return check_each(field, content.get_array(), check_part);
}

Result<> check_role(const std::string& field, const json::value& role) {
  constexpr std::string_view roles[] = {"system", "developer", "user", "assistant", "tool"};
  if (!role.is_string()) return refused(field, "expected a string");
  if (std::ranges::find(roles, std::string_view(role.get_string())) != std::end(roles)) return ok;
  return refused(field, "expected system, developer, user, assistant or tool");
}

// What clients send back of an answer, and a template has no use for: sources of what it says, and
// its content once more, as an SDK has parsed it.
Result<> pass_over(const std::string&, const json::value&) {
  return ok;
}

struct MessageField {
  std::string_view name;
  Check* check;
};
constexpr MessageField message_fields[] = {
    {"role", check_role},
    {"content", check_content},
    {"name", check_text},
    {"tool_calls", check_calls},
    {"tool_call_id", check_text},
    {"refusal", check_text},
    {"reasoning_content", check_text},
    {"annotations", pass_over},
    {"parsed", pass_over},
};

Result<> check_message(const std::string& field, const json::value& message) {
  const json::object* object = message.if_object();
  if (object == nullptr) return refused(field, "expected an object");
  const json::value* role = member(*object, "role");
  if (role == nullptr) return refused(field + ".role", "expected a string");
  for (const auto& [key, value] : *object) {
    if (value.is_null()) continue;
    const auto known =
        std::ranges::find(message_fields, std::string_view(key), &MessageField::name);
    const std::string at = field + "." + std::string(std::string_view(key).substr(0, 64));
    if (known == std::end(message_fields)) return not_done(at, "is not supported");
    if (auto good = known->check(at, value); !good) return good;
  }
  // A model may have said nothing, or only called.
  const bool may_be_null = *role == "assistant";
  const bool has_content = may_be_null ? object->contains("content") ||
                                             member(*object, "refusal") != nullptr ||
                                             member(*object, "tool_calls") != nullptr
                                       : member(*object, "content") != nullptr;
  return has_content ? Result<>(ok) : refused(field + ".content", "is missing");
}

json::value text_part(const json::value& said) {
  return {{"type", "text"}, {"text", said}};
}

// What a message says: what a model has refused, too, of which no template knows.
json::value content_of(const json::object& message) {
  const json::value* refusal = member(message, "refusal");
  const json::value* given = member(message, "content");
  const bool says_nothing = given == nullptr || *given == "";
  if (refusal == nullptr || *refusal == "") refusal = nullptr;
  if (says_nothing) return refusal == nullptr ? json::value("") : *refusal;
  if (given->is_string() && refusal == nullptr) return *given;
  json::array parts;
  if (given->is_string()) {
    parts.push_back(text_part(*given));
  } else {
    for (const json::value& part : given->get_array()) {
      parts.push_back(text_part(part.at(part.at("type").get_string())));
    }
  }
  if (refusal != nullptr) parts.push_back(text_part(*refusal));
  return parts;
}

// As llama.cpp reads it: with what says nothing left out, and what may be left out put in.
json::object readable(const json::object& message) {
  json::object out;
  for (const MessageField& field : message_fields) {
    const json::value* given = member(message, field.name);
    const bool is_read = field.check != pass_over && field.name != "refusal";
    if (field.name == "content") {
      out["content"] = content_of(message);
    } else if (given != nullptr && is_read) {
      out[field.name] = *given;
    }
  }
  json::value* calls = out.if_contains("tool_calls");
  if (calls == nullptr) return out;
  for (json::value& call : calls->get_array()) {
    call.get_object()["type"] = "function";
    if (member(call.get_object(), "id") == nullptr) call.get_object().erase("id");
  }
  return out;
}

std::size_t content_bytes(const json::object& message) {
  const json::value& content = message.at("content");
  if (content.is_string()) return content.get_string().size();
  std::size_t bytes = 0;
  for (const json::value& part : content.get_array()) bytes += part.at("text").get_string().size();
  return bytes;
}

// Leaves of its schema what a grammar is made of.
Result<> check_tool(const std::string& at, json::value& value) {
  json::object* tool = value.if_object();
  const json::value* type = tool == nullptr ? nullptr : tool->if_contains("type");
  if (type == nullptr || *type != "function") {
    return not_done(at + ".type", "only \"function\" is understood");
  }
  if (auto good = check_members(at, *tool, {"type", "function"}); !good) return good;
  json::value* function = tool->if_contains("function");
  const json::value* called = function != nullptr && function->is_object()
                                  ? function->get_object().if_contains("name")
                                  : nullptr;
  if (called == nullptr || !called->is_string() || called->get_string().empty()) {
    return refused(at + ".function.name", "expected a string");
  }
  json::object& described = function->get_object();
  if (auto good = check_described(at + ".function", described, "parameters"); !good) return good;
  json::value* parameters = described.if_contains("parameters");
  if (parameters == nullptr || parameters->is_null()) return ok;
  return check_schema(at + ".function.parameters", *parameters, holds(described));
}

// One certain function: that one alone is offered, and must be called.
Result<> keep_one_tool(Request& request, std::string_view name) {
  const auto all = parsed(request.tools.empty() ? "[]" : request.tools);
  if (!all) return all.error();
  for (const json::value& tool : all->as_array()) {
    if (tool.at("function").at("name").get_string() != name) continue;
    request.tools = json::serialize(json::array{tool});
    request.tool_choice = ToolChoice::required;
    return ok;
  }
  return refused("tool_choice.function.name", "\"" + std::string(name) + "\" is not among tools");
}

}  // namespace

Result<> read_messages(Request& request, Field field, Value value) {
  if (!value.is_array() || value.get_array().empty()) {
    return refused(field, "expected an array of at least one message");
  }
  if (auto good = check_each(field, value.get_array(), check_message); !good) return good;
  json::array messages;
  for (const json::value& message : value.get_array()) {
    json::object one = readable(message.get_object());
    request.message_bytes += content_bytes(one);
    messages.push_back(std::move(one));
  }
  request.messages = json::serialize(messages);
  return ok;
}

Result<> read_response_format(Request& request, Field field, Value value) {
  const json::object* object = value.if_object();
  const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return refused(field, "expected an object with a \"type\"");
  }
  const std::string_view kind = type->get_string();
  if (kind != "text" && kind != "json_object" && kind != "json_schema") {
    return refused("response_format.type", "expected text, json_object or json_schema");
  }
  auto known = kind == "json_schema" ? check_members("response_format", *object, {"type", kind})
                                     : check_members("response_format", *object, {"type"});
  if (!known) return known;
  if (kind == "text") return ok;
  if (kind == "json_object") {
    request.json_schema = R"({"type":"object"})";
    return ok;
  }
  const json::value* format = object->if_contains("json_schema");
  const json::value* schema = format != nullptr && format->is_object()
                                  ? format->get_object().if_contains("schema")
                                  : nullptr;
  if (schema == nullptr || !schema->is_object()) {
    return refused("response_format.json_schema.schema", "expected an object");
  }
  auto described = check_described("response_format.json_schema", format->get_object(), "schema");
  if (!described) return described;
  json::value held = *schema;
  const Holds how = holds(format->get_object());
  auto good = check_schema("response_format.json_schema.schema", held, how);
  if (good) request.json_schema = json::serialize(held);
  request.schema_is_strict = how == Holds::all;
  return good;
}

Result<> read_tools(Request& request, Field field, Value value) {
  constexpr std::size_t tools_max = 128;
  if (!value.is_array()) return refused(field, "expected an array");
  if (value.get_array().empty()) return ok;
  if (value.get_array().size() > tools_max) return refused(field, "at most 128");
  json::array tools = value.get_array();
  for (std::size_t i = 0; i < tools.size(); ++i) {
    auto good = check_tool("tools[" + std::to_string(i) + "]", tools[i]);
    if (!good) return good;
  }
  request.tools = json::serialize(tools);
  return ok;
}

Result<> read_tool_choice(Request& request, Field field, Value value) {
  if (const json::object* object = value.if_object()) {
    const json::value* type = member(*object, "type");
    if (type != nullptr && *type != "function") {
      return not_done("tool_choice.type", "only \"function\" is understood");
    }
    auto known = check_members("tool_choice", *object, {"type", "function"});
    if (!known) return known;
    const json::value* function = object->if_contains("function");
    const json::value* name = function != nullptr && function->is_object()
                                  ? function->get_object().if_contains("name")
                                  : nullptr;
    if (name == nullptr || !name->is_string()) {
      return refused("tool_choice.function.name", "expected a string");
    }
    known = check_members("tool_choice.function", function->get_object(), {"name"});
    if (!known) return known;
    return keep_one_tool(request, name->get_string());
  }
  if (value == "auto") return ok;
  if (value == "none") {
    request.tool_choice = ToolChoice::none;
  } else if (value == "required") {
    if (request.tools.empty()) return refused(field, "\"required\" wants tools");
    request.tool_choice = ToolChoice::required;
  } else {
    return refused(field, "expected auto, none, required, or a function");
  }
  return ok;
}

}  // namespace dormouse::llm
