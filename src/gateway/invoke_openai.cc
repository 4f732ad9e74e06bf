// OpenAI's API: from a request to an invocation of a language model, and from its outcome to what
// OpenAI's clients expect. What a request asks for, and what is answered, the worker reads and
// writes: here they pass as they are.
#include <algorithm>
#include <utility>

#include "conversations/conversations.h"
#include "gateway/errors.h"
#include "gateway/gateway.h"
#include "gateway/native_call.h"
#include "gateway/openai.h"
#include "gateway/outcome.h"

namespace dormouse::gateway {
namespace {

Error no_model(const std::string& name) {
  return {Code::not_found, "model: there is no model \"" + name +
                               "\"; GET /v1/models lists those there are, `dormouse deploy "
                               "model.gguf` makes one"};
}

Error nothing_here(const std::string& path) {
  return {Code::not_found, "nothing at " + path +
                               "; there are /v1/models, /v1/chat/completions, /v1/completions and "
                               "/v1/embeddings"};
}

// A stream on its way out. One that fails says so in a last event.
struct OpenAiStream {
  std::shared_ptr<fleet::Stream> pieces;
  OpenAiEvents events;
  bool is_over = false;
};

asio::awaitable<Result<std::optional<std::string>>> next_piece(
    std::shared_ptr<OpenAiStream> stream) {
  while (!stream->is_over) {
    auto taking = stream->pieces->next();
    auto piece = co_await std::move(taking);
    if (!piece && piece.error().code == Code::cancelled) co_return piece;
    stream->is_over = !piece || !*piece;
    std::string passing = !piece   ? stream->events.fail(piece.error())
                          : *piece ? stream->events.add(**std::move(piece))
                                   : stream->events.rest();
    if (!passing.empty()) co_return passing;
  }
  co_return std::nullopt;
}

http::Response stream_response(fleet::Answer answer) {
  auto stream = std::make_shared<OpenAiStream>(OpenAiStream{.pieces = std::move(answer.stream)});
  http::Response response = bytes_response(std::move(answer));
  response.fields.add("Cache-Control", "no-cache");
  response.body = http::Pieces([stream] { return next_piece(stream); });
  response.trailers = [stream] {
    http::Fields fields;
    const auto& receipt = stream->pieces->receipt();
    if (receipt) add_fields(fields, receipt->begun.key.id, receipt);
    return fields;
  };
  return response;
}

}  // namespace

bool Gateway::is_language_model(const catalog::Revision& revision) const {
  return fleet::runtime_of(parts_.fleet->runtimes(), revision.manifest.runtime).language_models;
}

Result<catalog::RevisionPtr> Gateway::language_model(const std::string& name) const {
  auto revision = parts_.catalog->active(name);
  if (!revision) return no_model(name);
  if (is_language_model(*revision)) return revision;
  if (!parts_.fleet->runtimes().contains(revision->manifest.runtime)) {
    return Error{Code::unavailable,
                 "model: this node has no runtime " + revision->manifest.runtime + " any more"};
  }
  return Error{Code::not_found, "model: \"" + name + "\" is a function of runtime " +
                                    revision->manifest.runtime +
                                    ", and no language model; call it at /f/" + name};
}

// `name` as a header or a body gave it.
Result<> Gateway::place_in_conversation(fleet::Invocation* call,
                                        std::optional<std::string> name) const {
  if (!name) return ok;
  if (!conversations::is_name(*name)) {
    return Error{Code::invalid_argument,
                 "conversation: must be 1 to 128 characters of printable ASCII"};
  }
  const std::string& runtime = call->revision->manifest.runtime;
  if (!fleet::runtime_of(parts_.fleet->runtimes(), runtime).keeps_conversations) {
    return Error{Code::unsupported, "conversation: functions of runtime " + runtime + " keep none"};
  }
  call->conversation = *std::move(name);
  return ok;
}

// Which model is called is in the body: it may be as long as any model takes.
http::Admission Gateway::admit_openai(const Route& to, const http::Head& head) {
  if (to.place == Place::openai_nowhere) return openai_error(nothing_here(head.path));
  if (to.place != Place::openai_call) return http::Receiving{};
  if (!is_json(head.fields.find("Content-Type").value_or(""))) {
    return openai_error({Code::invalid_argument, "Content-Type must be application/json"});
  }
  std::int64_t most = catalog::Manifest().body_bytes_max;
  for (const auto& [name, _] : parts_.catalog->all()) {
    const auto revision = parts_.catalog->active(name);
    if (is_language_model(*revision)) most = std::max(most, revision->manifest.body_bytes_max);
  }
  const auto bytes_max = static_cast<std::uint64_t>(most);
  if (head.content_length.value_or(0) <= bytes_max) return http::Receiving{bytes_max};
  return openai_error({Code::too_large, "the body has more than the " + std::to_string(most) +
                                            " bytes that any model here takes; `max_body` in a "
                                            "model's manifest sets that"});
}

asio::awaitable<http::Response> Gateway::openai(http::Request request, Route to) {
  if (to.place == Place::openai_call) {
    auto calling = call_openai(std::move(request), std::move(to));
    co_return co_await std::move(calling);
  }
  if (to.place == Place::openai_model) {
    const auto revision = language_model(to.name);
    if (!revision) co_return openai_error(revision.error());
    co_return json_response(openai_model({to.name, (*revision)->created}));
  }
  std::vector<OpenAiModel> models;
  for (const auto& [name, _] : parts_.catalog->all()) {
    const auto revision = parts_.catalog->active(name);
    if (is_language_model(*revision)) models.push_back({name, revision->created});
  }
  co_return json_response(openai_models(models));
}

asio::awaitable<http::Response> Gateway::call_openai(http::Request request, Route to) {
  const auto text = request.body.view();
  if (!text) co_return openai_error(text.error());
  auto work = [&] { return read_openai_head(*text); };
  auto reading = off_loop(text->size(), work);
  auto named = co_await std::move(reading);
  if (!named) co_return openai_error(named.error());
  auto revision = language_model(named->model);
  if (!revision) co_return openai_error(revision.error());
  const std::int64_t bytes_max = (*revision)->manifest.body_bytes_max;
  if (std::cmp_greater(text->size(), bytes_max)) {
    co_return openai_error(too_long(named->model, bytes_max));
  }
  fleet::Invocation call = invocation(*std::move(revision));
  const InvocationId id = call.id;
  const auto in_header = request.head->fields.find("Dormouse-Conversation");
  if (in_header) named->conversation = std::string(*in_header);
  if (to.name == "embeddings" && named->conversation) {
    co_return openai_error({Code::unsupported, "conversation: embeddings belong to none"});
  }
  const auto placed = place_in_conversation(&call, std::move(named->conversation));
  if (!placed) co_return openai_error(placed.error());
  call.content.content_type = "application/json";
  call.outputs = {to.name};
  call.body = std::move(request.body);
  auto running = parts_.fleet->invoke(std::move(call));
  fleet::Outcome outcome = co_await std::move(running);
  if (outcome.answer && (outcome.answer->lease || outcome.answer->content.is_tensors)) {
    outcome.answer = Error{Code::function_failed, "what answered is no language model"};
  }
  http::Response response = !outcome.answer
                                ? openai_error(outcome.answer.error(), outcome.retry_after)
                            : outcome.answer->stream ? stream_response(std::move(*outcome.answer))
                                                     : bytes_response(std::move(*outcome.answer));
  add_fields(response.fields, id, outcome.receipt);
  response.fields.add("x-request-id", id.text());  // Which OpenAI's clients tell.
  co_return response;
}

}  // namespace dormouse::gateway
