#include "wire/messages.h"

#include "base/bytes.h"

namespace dormouse::wire {
namespace {

constexpr std::size_t entries_max = 1024;
constexpr std::size_t items_max = 64;

Error malformed(std::string_view what) {
  return {Code::invalid_argument, "a malformed " + std::string(what) + " frame"};
}

void put_options(std::string& out, const Options& options) {
  put(out, static_cast<std::uint16_t>(options.size()));
  for (const auto& [key, value] : options) {
    put_sized(out, key);
    put_sized(out, value);
  }
}

Options get_options(Reader& reader) {
  const auto count = reader.get<std::uint16_t>();
  Options options;
  for (std::size_t i = 0; i < count && i < entries_max && reader.ok(); ++i) {
    const std::string_view key = reader.get_sized();
    options[std::string(key)] = reader.get_sized();
  }
  return options;
}

void put_strings(std::string& out, const std::vector<std::string>& strings) {
  put(out, static_cast<std::uint16_t>(strings.size()));
  for (const std::string& text : strings) put_sized(out, text);
}

std::vector<std::string> get_strings(Reader& reader) {
  const auto count = reader.get<std::uint16_t>();
  std::vector<std::string> strings;
  for (std::size_t i = 0; i < count && i < entries_max && reader.ok(); ++i) {
    strings.emplace_back(reader.get_sized());
  }
  return strings;
}

void put_content(std::string& out, const Content& content) {
  put(out, static_cast<std::uint8_t>(content.is_tensors));
  put_sized(out, content.is_tensors ? encode(content.tensors) : content.content_type);
}

Result<Content> get_content(Reader& reader) {
  Content content;
  content.is_tensors = reader.get<std::uint8_t>() != 0;
  const std::string_view text = reader.get_sized();
  if (!content.is_tensors) {
    content.content_type = text;
    return content;
  }
  auto tensors = decode_tensors(text);
  if (!tensors) return std::move(tensors).error();
  content.tensors = std::move(*tensors);
  return content;
}

void put_item(std::string& out, const Item& item) {
  Packed<36> call;
  put(call, item.handle);
  put(call, item.id.high());
  put(call, item.id.low());
  put(call, item.attempt);
  put(call, item.deadline_us);
  out.append(call);
  put_content(out, item.content);
  put_strings(out, item.outputs);
  Packed<25> body;
  put(body, item.body_size);
  put(body, static_cast<std::uint8_t>(item.has_body_memfd));
  put(body, item.body_offset);
  put(body, item.result_bytes_max);
  out.append(body);
  if (!item.has_body_memfd) out.append(item.inline_body);
}

Result<Item> get_item(Reader& reader) {
  Item item;
  item.handle = reader.get<std::uint64_t>();
  const auto high = reader.get<std::uint64_t>();
  item.id = InvocationId::from_raw(high, reader.get<std::uint64_t>());
  item.attempt = reader.get<std::uint32_t>();
  item.deadline_us = reader.get<std::uint64_t>();
  auto content = get_content(reader);
  if (!content) return std::move(content).error();
  item.content = std::move(*content);
  item.outputs = get_strings(reader);
  item.body_size = reader.get<std::uint64_t>();
  item.has_body_memfd = reader.get<std::uint8_t>() != 0;
  item.body_offset = reader.get<std::uint64_t>();
  item.result_bytes_max = reader.get<std::uint64_t>();
  if (!item.has_body_memfd) item.inline_body = reader.take(item.body_size);
  if (!reader.ok()) return malformed("invoke");
  return item;
}

}  // namespace

std::string encode(const Hello& hello) {
  std::string out;
  put(out, hello.version);
  put_sized(out, hello.runtime);
  put_sized(out, hello.runtime_version);
  return out;
}

Result<Hello> decode_hello(std::string_view text) {
  Reader reader(text);
  Hello hello;
  hello.version = reader.get<std::uint32_t>();
  hello.runtime = reader.get_sized();
  hello.runtime_version = reader.get_sized();
  if (!reader.complete()) return malformed("hello");
  return hello;
}

std::string encode(const Load& load) {
  std::string out;
  put_options(out, load.options);
  return out;
}

Result<Load> decode_load(std::string_view text) {
  Reader reader(text);
  Load load{get_options(reader)};
  if (!reader.complete()) return malformed("load");
  return load;
}

std::string encode(const Prepared& prepared) {
  std::string out;
  put_strings(out, prepared.files);
  put_options(out, prepared.notes);
  put_options(out, prepared.options);
  return out;
}

Result<Prepared> decode_prepared(std::string_view text) {
  Reader reader(text);
  Prepared prepared;
  prepared.files = get_strings(reader);
  prepared.notes = get_options(reader);
  prepared.options = get_options(reader);
  if (!reader.complete()) return malformed("prepared");
  return prepared;
}

std::string encode(const Fork& fork) {
  std::string out;
  put_sized(out, fork.root);
  put(out, fork.uid);
  return out;
}

std::string encode(const Go& go) {
  std::string out;
  put_options(out, go.environment);
  return out;
}

std::string encode(const Ready& ready) {
  std::string out;
  put_sized(out, encode(ready.signature));
  put_sized(out, ready.platform);
  put_options(out, ready.notes);
  return out;
}

Result<Ready> decode_ready(std::string_view text) {
  Reader reader(text);
  auto signature = decode_signature(reader.get_sized());
  if (!signature) return std::move(signature).error();
  Ready ready{std::move(*signature)};
  ready.platform = reader.get_sized();
  ready.notes = get_options(reader);
  if (!reader.complete()) return malformed("ready");
  return ready;
}

std::string encode(std::span<const Item> items) {
  CHECK(!items.empty() && items.size() <= items_max);
  constexpr std::size_t fixed_bytes = 96;  // Of each, and a little more.
  std::size_t bytes = 0;
  for (const Item& each : items) {
    bytes += fixed_bytes + each.inline_body.size() + each.content.content_type.size();
  }
  std::string out;
  out.reserve(bytes);
  put(out, static_cast<std::uint16_t>(items.size()));
  for (const Item& item : items) put_item(out, item);
  return out;
}

Result<std::vector<Item>> decode_items(std::string_view text) {
  Reader reader(text);
  const auto count = reader.get<std::uint16_t>();
  if (count == 0 || count > items_max) return malformed("invoke");
  std::vector<Item> items;
  for (int i = 0; i < count; ++i) {
    auto item = get_item(reader);
    if (!item) return std::move(item).error();
    items.push_back(std::move(*item));
  }
  if (!reader.complete()) return malformed("invoke");
  return items;
}

std::string encode(const Answer& answer) {
  std::string out;
  put_content(out, answer.content);
  put(out, answer.run_ns);
  put(out, answer.body_size);
  put(out, static_cast<std::uint8_t>(answer.in_memfd));
  if (!answer.in_memfd) out.append(answer.inline_body);
  return out;
}

Result<Answer> decode_answer(std::string_view text) {
  Reader reader(text);
  auto content = get_content(reader);
  if (!content) return std::move(content).error();
  Answer answer{std::move(*content)};
  answer.run_ns = reader.get<std::uint64_t>();
  answer.body_size = reader.get<std::uint64_t>();
  answer.in_memfd = reader.get<std::uint8_t>() != 0;
  if (!answer.in_memfd) answer.inline_body = reader.take(answer.body_size);
  if (!reader.complete()) return malformed("result");
  return answer;
}

std::string encode(const Failure& failure) {
  std::string out;
  put(out, static_cast<std::uint8_t>(failure.code));
  put_sized(out, std::string_view(failure.message).substr(0, payload_bytes_max / 2));
  put_sized(out, failure.document.size() <= document_bytes_max ? failure.document : "{}");
  return out;
}

Result<Failure> decode_failure(std::string_view text) {
  Reader reader(text);
  const auto code = reader.get<std::uint8_t>();
  Failure failure{Code::function_failed, std::string(reader.get_sized())};
  // Programs with dormouse.h end with the message.
  if (!reader.complete()) failure.document = reader.get_sized();
  if (!reader.complete() || failure.document.size() > document_bytes_max) {
    return malformed("failed");
  }
  // Nothing that a worker says may blame the platform or look like a limit of ours.
  for (const Code allowed : {Code::invalid_argument, Code::unsupported, Code::too_large}) {
    if (code == static_cast<std::uint8_t>(allowed)) failure.code = allowed;
  }
  return failure;
}

std::string encode(const Call& call) {
  std::string out;
  put(out, call.caller);
  put_sized(out, call.function);
  put_content(out, call.content);
  put(out, call.body_size);
  put(out, static_cast<std::uint8_t>(call.in_memfd));
  if (!call.in_memfd) out.append(call.inline_body);
  return out;
}

Result<Call> decode_call(std::string_view text) {
  Reader reader(text);
  Call call{.caller = reader.get<std::uint64_t>(), .function = std::string(reader.get_sized())};
  auto content = get_content(reader);
  if (!content) return std::move(content).error();
  call.content = std::move(*content);
  call.body_size = reader.get<std::uint64_t>();
  call.in_memfd = reader.get<std::uint8_t>() != 0;
  if (!call.in_memfd) call.inline_body = reader.take(call.body_size);
  if (!reader.complete()) return malformed("call");
  return call;
}

std::string encode(const CallAnswer& answer) {
  std::string out;
  put(out, static_cast<std::uint8_t>(answer.failure.has_value()));
  if (answer.failure) {
    put(out, static_cast<std::uint8_t>(answer.failure->code));
    put_sized(out, std::string_view(answer.failure->message).substr(0, payload_bytes_max / 2));
    return out;
  }
  put_content(out, answer.content);
  put(out, answer.body_size);
  put(out, static_cast<std::uint8_t>(answer.has_body_memfd));
  put(out, answer.body_offset);
  if (!answer.has_body_memfd) out.append(answer.inline_body);
  return out;
}

Result<CallAnswer> decode_call_answer(std::string_view text) {
  Reader reader(text);
  CallAnswer answer;
  if (reader.get<std::uint8_t>() != 0) {
    Failure failure{static_cast<Code>(reader.get<std::uint8_t>()), std::string(reader.get_sized())};
    if (!reader.complete()) return malformed("answer");
    answer.failure = std::move(failure);
    return answer;
  }
  auto content = get_content(reader);
  if (!content) return std::move(content).error();
  answer.content = std::move(*content);
  answer.body_size = reader.get<std::uint64_t>();
  answer.has_body_memfd = reader.get<std::uint8_t>() != 0;
  answer.body_offset = reader.get<std::uint64_t>();
  if (!answer.has_body_memfd) answer.inline_body = reader.take(answer.body_size);
  if (!reader.complete()) return malformed("answer");
  return answer;
}

std::string encode(const Stats& stats) {
  std::string out;
  put(out, stats.prompt_read);
  put(out, stats.prompt_reused);
  put(out, stats.generated);
  return out;
}

Result<Stats> decode_stats(std::string_view text) {
  Reader reader(text);
  Stats stats;
  for (auto part : {&Stats::prompt_read, &Stats::prompt_reused, &Stats::generated}) {
    stats.*part = reader.get<std::uint64_t>();
    if (stats.*part > tokens_max) return malformed("stats");  // No sum of them may overflow.
  }
  if (!reader.complete()) return malformed("stats");
  return stats;
}

std::string encode(const Keep& keep) {
  std::string out;
  put(out, keep.invocation);
  put_sized(out, keep.conversation);
  put(out, keep.size);
  return out;
}

Result<Keep> decode_keep(std::string_view text) {
  Reader reader(text);
  Keep keep;
  keep.invocation = reader.get<std::uint64_t>();
  keep.conversation = reader.get_sized();
  keep.size = reader.get<std::uint64_t>();
  if (!reader.complete()) return malformed("keep");
  return keep;
}

std::string encode(const State& state) {
  std::string out;
  put_sized(out, state.conversation);
  put(out, static_cast<std::uint8_t>(state.has_state));
  put(out, state.offset);
  put(out, state.size);
  return out;
}

Result<State> decode_state(std::string_view text) {
  Reader reader(text);
  State state;
  state.conversation = reader.get_sized();
  state.has_state = reader.get<std::uint8_t>() != 0;
  state.offset = reader.get<std::uint64_t>();
  state.size = reader.get<std::uint64_t>();
  if (!reader.complete()) return malformed("state");
  return state;
}

std::string encode_credit(std::uint32_t bytes) {
  std::string out;
  put(out, bytes);
  return out;
}

Result<std::uint32_t> decode_credit(std::string_view text) {
  Reader reader(text);
  const auto bytes = reader.get<std::uint32_t>();
  if (!reader.complete()) return malformed("credit");
  return bytes;
}

std::string encode_ask_room(std::uint64_t bytes) {
  std::string out;
  put(out, bytes);
  return out;
}

Result<std::uint64_t> decode_ask_room(std::string_view text) {
  Reader reader(text);
  const auto bytes = reader.get<std::uint64_t>();
  if (!reader.complete()) return malformed("ask_room");
  return bytes;
}

}  // namespace dormouse::wire
