#include "gateway/gateway.h"

#include <sys/random.h>

#include <algorithm>
#include <charconv>

#include "gateway/errors.h"
#include "gateway/http_prelude.h"
#include "gateway/metrics.h"
#include "gateway/native_call.h"
#include "gateway/openai.h"
#include "gateway/outcome.h"
#include "gateway/route.h"
#include "gateway/web.h"

namespace dormouse::gateway {
namespace {

http::Response json_response(std::string body, int status = 200) {
  http::Response response;
  response.status = status;
  response.fields.add("Content-Type", "application/json");
  response.body = http::Body(std::move(body));
  return response;
}

http::Response refuse(Place place, const Error& error, std::string_view invocation = {},
                      Duration retry_after = {}) {
  if (speaks_openai(place)) return openai_error(error, retry_after);
  http::Response response = error_response(error, invocation, retry_after);
  if (speaks_kserve(place)) response.body = http::Body(kserve_error(error.message));
  return response;
}

Error no_function(const std::string& name) {
  return {Code::not_found, "there is no function \"" + name + "\"; `dormouse list` shows them"};
}

http::Response wrong_method(const Route& route, std::string_view method) {
  http::Response response = refuse(
      route.place, {Code::invalid_argument, std::string(method) + " is not allowed here; use " +
                                                std::string(route.methods)});
  response.status = 405;
  response.fields.add("Allow", std::string(route.methods));
  return response;
}

http::Response forbidden(Place place, const Error& error) {
  if (speaks_openai(place)) return openai_refusal(403, error.message);
  http::Response response = refuse(place, error);
  response.status = 403;
  return response;
}

http::Response nothing_here(const std::string& path) {
  return refuse(dialect_of(path),
                {Code::not_found, "nothing at " + path +
                                      "; functions are at /f/{name}, models at /v2/models/"
                                      "{name} and /v1, the control API at /api/v1"});
}

http::Response nothing_beneath(const std::string& name) {
  return error_response({Code::not_found, "\"" + name +
                                              "\" is no HTTP server (runtime: web), so it has no "
                                              "paths and no host; POST to /f/" +
                                              name});
}

// One that says beforehand that it is too long is refused in the words of its dialect.
template <class Admitted>
http::Admission admit_body(Place place, const http::Head& head, const catalog::Manifest& manifest) {
  const auto bytes_max = static_cast<std::uint64_t>(manifest.body_bytes_max);
  if (head.content_length.value_or(0) <= bytes_max) return Admitted{bytes_max};
  return refuse(place, too_long(manifest.name, manifest.body_bytes_max));
}

Error no_tensors(const catalog::Manifest& manifest) {
  if (manifest.task.empty()) {
    return {Code::unsupported, "this function takes no tensors; POST to /f/" + manifest.name};
  }
  return {Code::unsupported, "this function takes no tensors: its task, " + manifest.task +
                                 ", makes them of pictures; POST one to /f/" + manifest.name};
}

constexpr std::size_t content_type_bytes_max = 1024;  // It shares a frame with a body.

}  // namespace

// Random bits for invocation ids, fetched a page at a time.
struct Gateway::Ids {
  std::array<std::uint64_t, 256> bits{};
  std::size_t next = bits.size();

  InvocationId make(WallTime now) {
    if (next + 2 > bits.size()) {
      CHECK(getrandom(bits.data(), sizeof(bits), 0) == static_cast<ssize_t>(sizeof(bits)));
      next = 0;
    }
    next += 2;
    return InvocationId::make(now, {bits[next - 2], bits[next - 1]});
  }
};

Gateway::Gateway(Parts parts) : parts_(std::move(parts)), ids_(std::make_unique<Ids>()) {
}
Gateway::~Gateway() = default;

http::Admission Gateway::admit(const http::Head& head, bool loopback) {
  const Route to = route(head);
  if (to.place == Place::api) return parts_.api->admit(head, loopback);
  if (speaks_lambda(to.place)) return admit_lambda(to, head, loopback);
  const bool open = to.place == Place::kserve_live || to.place == Place::kserve_ready;
  if (!open && !parts_.keys->empty() && !parts_.keys->accept(head.fields)) {
    return refuse(to.place, Keys::refusal(head.fields));
  }
  if (to.place == Place::nowhere) return nothing_here(head.path);
  const bool is_call =
      to.place == Place::native || to.place == Place::beneath || to.place == Place::kserve_infer;
  const auto revision = is_call ? parts_.catalog->active(to.name) : nullptr;
  const bool is_web = revision && listens(*revision) && to.place != Place::kserve_infer;
  if (is_web) return admit_body<http::Passing>(to.place, head, revision->manifest);
  if (auto good = check_page(head); !good) return forbidden(to.place, good.error());
  if (speaks_openai(to.place) && to.place != Place::openai_nowhere && !allows(to, head.method)) {
    return wrong_method(to, head.method);
  }
  if (speaks_openai(to.place)) return admit_openai(to, head);
  if (!allows(to, head.method)) return wrong_method(to, head.method);
  if (is_call && !revision) return refuse(to.place, no_function(to.name));
  if (to.place == Place::beneath) return nothing_beneath(to.name);
  if (!is_call) return std::uint64_t{0};
  return admit_body<std::uint64_t>(to.place, head, revision->manifest);
}

// Whoever has a key may do with it what he likes.
Result<> Gateway::check_page(const http::Head& head) const {
  return parts_.keys->empty() ? check_caller(head.fields, parts_.hosts) : ok;
}

bool Gateway::listens(const catalog::Revision& revision) const {
  return fleet::runtime_of(parts_.fleet->runtimes(), revision.manifest.runtime).listens;
}

asio::awaitable<http::Response> Gateway::handle(http::Request request) {
  Route to = route(request.head);
  if (to.place == Place::api) return parts_.api->handle(std::move(request));
  if (speaks_lambda(to.place)) return lambda(std::move(request), std::move(to));
  if (speaks_openai(to.place)) return openai(std::move(request), std::move(to));
  if (to.place == Place::native) {
    if (auto revision = parts_.catalog->active(to.name)) {
      return native(std::move(request), std::move(revision));
    }
  }
  return serve(std::move(request), std::move(to));
}

asio::awaitable<http::Response> Gateway::serve(http::Request request, Route to) {
  switch (to.place) {
    case Place::root:
      co_return json_response(
          R"({"name":"dormouse","version":")" + parts_.version +
          R"(","functions":"/f/{name}","models":"/v2/models/{name}","openai":"/v1",)" +
          R"("api":"/api/v1/openapi.json"})" + "\n");
    case Place::metrics: co_return metrics();
    case Place::kserve_server: co_return json_response(server_metadata(parts_.version));
    case Place::kserve_live: co_return json_response(R"({"live":true})");
    case Place::kserve_ready: co_return json_response(R"({"ready":true})");
    case Place::native:
    case Place::kserve_infer:
    case Place::kserve_model:
    case Place::kserve_model_ready: break;
    case Place::beneath:
    case Place::api:
    case Place::lambda_invoke:
    case Place::lambda_stream:
    case Place::lambda_api:
    case Place::openai_models:
    case Place::openai_model:
    case Place::openai_call:
    case Place::openai_nowhere:
    case Place::nowhere: CHECK_UNREACHABLE("admit() let it through");
  }
  auto revision = parts_.catalog->active(to.name);
  if (!revision) co_return refuse(to.place, no_function(to.name));
  if (!to.version.empty() && to.version != std::to_string(revision->number)) {
    co_return refuse(to.place, {Code::not_found, "version " + to.version + " does not serve; " +
                                                     std::to_string(revision->number) + " does"});
  }
  if (to.place == Place::native) {
    co_return co_await native(std::move(request), std::move(revision));
  }
  if (to.place == Place::kserve_infer) {
    co_return co_await infer(std::move(request), std::move(revision));
  }
  if (to.place == Place::kserve_model_ready) {
    const fleet::Status status = parts_.fleet->status(to.name);
    const std::string why_not =
        status.kept_back ? "it cannot be started: " + status.last_start_error : "";
    co_return json_response(model_readiness(to.name, why_not), status.kept_back ? 503 : 200);
  }
  co_return json_response(model_metadata(to.name, revision->number, revision->ready));
}

InvocationId Gateway::new_id() {
  return ids_->make(parts_.clock->wall());
}

fleet::Invocation Gateway::invocation(catalog::RevisionPtr revision) {
  return {.id = new_id(), .revision = std::move(revision), .accepted = parts_.clock->now()};
}

http::Response Gateway::metrics() {
  http::Response response;
  response.fields.add("Content-Type", "text/plain; version=0.0.4");
  response.body = http::Body(metrics_text(parts_.fleet->snapshot(), parts_.http_counters()));
  return response;
}

// ---- web ----

asio::awaitable<void> Gateway::pass(http::Exchange* client) {
  Route to = route(client->head());
  auto revision = parts_.catalog->active(to.name);
  if (!revision) co_return co_await send(client, refuse(to.place, no_function(to.name)));
  fleet::Invocation call = invocation(std::move(revision));
  const InvocationId id = call.id;
  auto running = parts_.fleet->invoke(std::move(call));
  fleet::Outcome outcome = co_await std::move(running);
  if (outcome.answer && !outcome.answer->lease) outcome.answer = became_another();
  if (!outcome.answer) {
    auto refused = refuse(to.place, outcome.answer.error(), id.text(), outcome.retry_after);
    add_fields(refused.fields, id, outcome.receipt);
    co_return co_await send(client, std::move(refused));
  }
  const bool is_root = to.place == Place::native;
  const std::string_view target = client->head().target;
  const std::string_view query = target.substr(std::min(target.size(), target.find('?')));
  WebRequest request{.id = id,
                     .target = is_root ? "/" + std::string(query) : std::move(to.target),
                     .prefix = is_root ? "/f/" + to.name : std::move(to.prefix)};
  request.left_out = parts_.keys->accepted_fields(client->head().fields);
  auto serving =
      serve_web(parts_.clock, client, std::move(outcome.answer->lease), std::move(request));
  co_await std::move(serving);
}

// ---- native ----

namespace {

// Content types come from inside a sandbox: nothing of them may break out of its header line.
bool is_field_value(std::string_view text) {
  return !text.empty() && text.size() <= 256 &&
         std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 127; });
}

// A stream's receipt is known at its end only: it goes into the trailers.
void stream_into(http::Response& response, std::shared_ptr<fleet::Stream> stream) {
  response.body = http::Pieces([stream] { return stream->next(); });
  response.trailers = [stream] {
    http::Fields fields;
    if (stream->receipt()) add_fields(fields, stream->receipt()->begun.key.id, stream->receipt());
    return fields;
  };
}

}  // namespace

http::Response bytes_response(fleet::Answer answer) {
  http::Response response;
  std::string& type = answer.content.content_type;
  if (!is_field_value(type)) type = "application/octet-stream";
  response.fields.add("Content-Type", std::move(type));
  if (answer.stream) {
    stream_into(response, std::move(answer.stream));
  } else {
    response.body = std::move(answer.body);
  }
  return response;
}

const wire::Signature* raw_signature(const catalog::Revision& revision) {
  const wire::Signature& signature = revision.ready.signature;
  const bool is_model = !signature.inputs.empty() || !signature.outputs.empty();
  return revision.manifest.task.empty() && is_model ? &signature : nullptr;
}

namespace {

// A large one goes to the worker in a memfd: it is put there here, on the parser's thread.
Result<http::Body> body_of(std::string bytes) {
  if (bytes.size() <= wire::inline_body_bytes_max) return http::Body(std::move(bytes));
  return http::Body::in_memfd(bytes);
}

}  // namespace

Result<> fill_tensors(fleet::Invocation& call, std::string_view text,
                      const wire::Signature& signature) {
  auto parsed = tensors_from_native(text, signature);
  if (!parsed) return std::move(parsed).error();
  call.content = {.tensors = std::move(parsed->tensors), .is_tensors = true};
  auto body = body_of(std::move(parsed->bytes));
  if (!body) return std::move(body).error();
  call.body = *std::move(body);
  return ok;
}

asio::awaitable<http::Response> Gateway::native(http::Request request,
                                                catalog::RevisionPtr revision) {
  fleet::Invocation call = invocation(std::move(revision));
  const InvocationId id = call.id;
  std::optional<std::string> conversation(request.head.fields.find("Dormouse-Conversation"));
  const auto placed = place_in_conversation(&call, std::move(conversation));
  if (!placed) co_return refuse(Place::native, placed.error(), id.text());
  const std::string type(request.head.fields.find("Content-Type").value_or(""));
  if (type.size() > content_type_bytes_max) {
    co_return refuse(Place::native,
                     {Code::invalid_argument, "Content-Type: longer than 1024 bytes"}, id.text());
  }
  const wire::Signature* const signature = is_json(type) ? raw_signature(*call.revision) : nullptr;
  if (signature == nullptr) {
    call.content.content_type = type.empty() ? "application/octet-stream" : type;
    call.body = std::move(request.body);
  } else {
    const auto text = request.body.view();
    if (!text) co_return refuse(Place::native, text.error(), id.text());
    auto work = [&call, &text, &signature] { return fill_tensors(call, *text, *signature); };
    auto parsing = off_loop(text->size(), work);
    const Result<> filled = co_await std::move(parsing);
    if (!filled) co_return refuse(Place::native, filled.error(), id.text());
  }
  auto running = parts_.fleet->invoke(std::move(call));
  fleet::Outcome outcome = co_await std::move(running);
  if (outcome.answer && outcome.answer->lease) outcome.answer = became_another();
  Prelude prelude;
  if (outcome.answer && has_prelude(outcome.answer->content)) {
    auto taking = take_prelude(&outcome);
    prelude = co_await std::move(taking);
  }
  if (!outcome.answer) {
    auto refused = refuse(Place::native, outcome.answer.error(), id.text(), outcome.retry_after);
    add_fields(refused.fields, id, outcome.receipt);
    co_return refused;
  }
  http::Response response;
  if (outcome.answer->content.is_tensors) {
    auto writing = tensors_response(std::move(*outcome.answer));
    response = co_await std::move(writing);
  } else {
    response = bytes_response(std::move(*outcome.answer));
    response.status = prelude.status;
    for (const auto& [name, value] : prelude.fields.all()) response.fields.add(name, value);
  }
  add_fields(response.fields, id, outcome.receipt);
  co_return response;
}

asio::awaitable<http::Response> Gateway::tensors_response(fleet::Answer answer) {
  const auto bytes = answer.body.view();
  if (!bytes) co_return refuse(Place::native, bytes.error());
  auto work = [&] { return native_from_tensors(answer.content.tensors, *bytes); };
  auto writing = off_loop(bytes->size(), work);
  auto text = co_await std::move(writing);
  if (!text) co_return refuse(Place::native, text.error());
  co_return json_response(std::move(*text));
}

// ---- KServe v2 ----

namespace {

std::optional<std::uint64_t> header_length(const http::Head& head, bool& malformed) {
  const auto text = head.fields.find("Inference-Header-Content-Length");
  if (!text) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), value);
  malformed = failure != std::errc{} || end != text->data() + text->size();
  return value;
}

// `gathered`: the tensors' bytes, unless they lie in the request's body as they must.
Result<> fill_request(InferRequest& out, http::Body& gathered, std::string_view body,
                      std::optional<std::uint64_t> header, const wire::Signature& signature) {
  auto parsed = parse_infer(body, header, signature);
  if (!parsed) return std::move(parsed).error();
  out = std::move(*parsed);
  if (out.in_place) return ok;
  auto made = body_of(std::exchange(out.bytes, {}));
  if (!made) return std::move(made).error();
  gathered = *std::move(made);
  return ok;
}

http::Response binary_response(const InferResponse& infer, std::string_view bytes) {
  http::Response response;
  std::string body = infer.header;
  for (const wire::Tensor& each : infer.binary) body.append(bytes.substr(each.offset, each.size));
  response.fields.add("Content-Type", "application/octet-stream");
  response.fields.add("Inference-Header-Content-Length", std::to_string(infer.header.size()));
  response.body = http::Body(std::move(body));
  return response;
}

}  // namespace

asio::awaitable<http::Response> Gateway::infer(http::Request request,
                                               catalog::RevisionPtr revision) {
  fleet::Invocation call = invocation(std::move(revision));
  const InvocationId id = call.id;
  const wire::Signature* const signature = raw_signature(*call.revision);
  if (signature == nullptr) {
    co_return refuse(Place::kserve_infer, no_tensors(call.revision->manifest), id.text());
  }
  bool malformed = false;
  const auto header = header_length(request.head, malformed);
  if (malformed) {
    co_return refuse(Place::kserve_infer,
                     {Code::invalid_argument, "Inference-Header-Content-Length must be a number"},
                     id.text());
  }
  const auto body = request.body.view();
  if (!body) co_return refuse(Place::kserve_infer, body.error(), id.text());
  InferRequest infer;
  http::Body gathered;
  auto work = [&] { return fill_request(infer, gathered, *body, header, *signature); };
  auto parsing = off_loop(header.value_or(body->size()), work);
  const Result<> parsed = co_await std::move(parsing);
  if (!parsed) co_return refuse(Place::kserve_infer, parsed.error(), id.text());
  call.content = {.tensors = infer.tensors, .is_tensors = true};
  call.outputs = infer.outputs;
  call.body =
      infer.in_place ? std::move(request.body).behind(header.value_or(0)) : std::move(gathered);
  const std::string model = call.revision->manifest.name;
  const std::int32_t version = call.revision->number;
  auto running = parts_.fleet->invoke(std::move(call));
  fleet::Outcome outcome = co_await std::move(running);
  if (!outcome.answer) {
    auto refused =
        refuse(Place::kserve_infer, outcome.answer.error(), id.text(), outcome.retry_after);
    add_fields(refused.fields, id, outcome.receipt);
    co_return refused;
  }
  auto writing = infer_answer(infer, model, version, std::move(*outcome.answer));
  http::Response response = co_await std::move(writing);
  add_fields(response.fields, id, outcome.receipt);
  co_return response;
}

asio::awaitable<http::Response> Gateway::infer_answer(InferRequest infer, std::string model,
                                                      std::int32_t version, fleet::Answer answer) {
  const auto bytes = answer.body.view();
  if (!bytes) co_return refuse(Place::kserve_infer, bytes.error());
  if (!answer.content.is_tensors) {
    co_return refuse(Place::kserve_infer,
                     {Code::unsupported, "the function answered with something else than tensors"});
  }
  auto work = [&] { return infer_response(infer, model, version, answer.content.tensors, *bytes); };
  auto writing = off_loop(bytes->size(), work);
  const auto made = co_await std::move(writing);
  if (!made) co_return refuse(Place::kserve_infer, made.error());
  if (made->binary.empty()) co_return json_response(made->header);
  co_return binary_response(*made, *bytes);
}

}  // namespace dormouse::gateway
