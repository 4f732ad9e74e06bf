#include "gateway/gateway.h"

#include <sys/random.h>

#include <algorithm>

#include "base/ascii.h"
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
  response.fields.add("Allow", route.methods);
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

// "//host/path", or "/%2Fhost/path", which a program may take for another host's. Such a path is
// ambiguous, so the server answers 400 to whoever is not let pass with it.
bool names_host(std::string_view target) {
  const std::string start = lower(target.substr(0, 4));
  return start.starts_with("//") || start == "/%2f" || start == "/%5c";
}

// Tensors behind a header are received so that the worker can use them where they lie.
http::Admission admit_infer(const http::Head& head, const catalog::Manifest& manifest) {
  auto admitted = admit_body<http::Receiving>(Place::kserve_infer, head, manifest);
  const auto header = header_length(head.fields);
  auto* const receiving = std::get_if<http::Receiving>(&admitted);
  if (receiving != nullptr && header) receiving->header_bytes = header->value_or(0);
  return admitted;
}

constexpr std::size_t content_type_bytes_max = 1024;  // It shares a frame with a body.

}  // namespace

http::Response json_response(std::string body, int status) {
  http::Response response;
  response.status = status;
  response.fields.add("Content-Type", "application/json");
  response.body = http::Body(std::move(body));
  return response;
}

Result<catalog::RevisionPtr> Gateway::asked_for(const Route& to) const {
  auto serves = parts_.catalog->active(to.name);
  if (!serves) return no_function(to.name);
  if (to.version.empty()) return serves;
  if (auto one = catalog::find_revision(*parts_.catalog, to.name, to.version)) return one;
  return Error{Code::not_found, "there is no version " + to.version + " of " + to.name + "; " +
                                    std::to_string(serves->number) + " serves"};
}

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
  const auto asked = is_call ? asked_for(to) : Result<catalog::RevisionPtr>(nullptr);
  const auto revision = asked.value_or(nullptr);
  const bool is_web = revision && listens(*revision) && to.place != Place::kserve_infer;
  if (is_web && !names_host(to.target)) {
    return admit_body<http::Passing>(to.place, head, revision->manifest);
  }
  if (auto good = check_page(head); !good) return forbidden(to.place, good.error());
  if (speaks_openai(to.place) && to.place != Place::openai_nowhere && !allows(to, head.method)) {
    return wrong_method(to, head.method);
  }
  if (speaks_openai(to.place)) return admit_openai(to, head);
  if (!allows(to, head.method)) return wrong_method(to, head.method);
  if (!asked) return refuse(to.place, asked.error());
  if (to.place == Place::beneath) return nothing_beneath(to.name);
  if (!is_call) return http::Receiving{};
  if (to.place == Place::kserve_infer) return admit_infer(head, revision->manifest);
  return admit_body<http::Receiving>(to.place, head, revision->manifest);
}

// Whoever has a key may do with it what he likes.
Result<> Gateway::check_page(const http::Head& head) const {
  return parts_.keys->empty() ? check_caller(head.fields, parts_.hosts) : ok;
}

bool Gateway::listens(const catalog::Revision& revision) const {
  return fleet::runtime_of(parts_.fleet->runtimes(), revision.manifest.runtime).listens;
}

asio::awaitable<http::Response> Gateway::handle(http::Request request) {
  Route to = route(*request.head);
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
  auto asked = asked_for(to);
  if (!asked) co_return refuse(to.place, asked.error());
  catalog::RevisionPtr revision = *std::move(asked);
  if (to.place == Place::native) {
    co_return co_await native(std::move(request), std::move(revision));
  }
  if (to.place == Place::kserve_infer) {
    co_return co_await infer(std::move(request), std::move(to), std::move(revision));
  }
  if (to.place == Place::kserve_model_ready) {
    if (revision != parts_.catalog->active(to.name)) {  // It is started once somebody calls it.
      co_return json_response(model_readiness(to.name, ""), 200);
    }
    const fleet::Status status = parts_.fleet->status(to.name);
    const std::string why_not =
        status.kept_back ? "it cannot be started: " + status.last_start_error : "";
    co_return json_response(model_readiness(to.name, why_not), status.kept_back ? 503 : 200);
  }
  std::vector<std::string> versions;
  for (const auto& [number, _] : parts_.catalog->find(to.name)->revisions) {
    versions.push_back(std::to_string(number));
  }
  co_return json_response(model_metadata(to.name, versions, revision->ready));
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
  const std::string& type = answer.content.content_type;
  response.fields.add("Content-Type", is_field_value(type) ? type : "application/octet-stream");
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

Result<http::Body> body_of(std::string bytes) {
  if (bytes.size() <= wire::inline_body_bytes_max) return http::Body(std::move(bytes));
  return http::Body::in_memfd(bytes);
}

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

// What a request was read for need not serve any more once it is read: then it is to be read anew.
bool Gateway::catch_up(fleet::Invocation* call) const {
  auto serving = parts_.fleet->serves(call->revision->manifest.name);
  if (!serving || serving == call->revision) return false;
  call->revision = std::move(serving);
  return true;
}

// JSON, as the tensors of the revision that serves once it is read; of one that takes none nothing
// is filled in.
asio::awaitable<Result<>> Gateway::fill_native(fleet::Invocation* call, const http::Body* body) {
  const auto text = body->view();
  if (!text) co_return text.error();
  while (const auto* const signature = raw_signature(*call->revision)) {
    auto work = [&] { return fill_tensors(*call, *text, *signature); };
    auto parsing = off_loop(text->size(), work);
    const Result<> filled = co_await std::move(parsing);
    if (!catch_up(call)) co_return filled;
  }
  call->content = {};
  co_return ok;
}

asio::awaitable<http::Response> Gateway::native(http::Request request,
                                                catalog::RevisionPtr revision) {
  fleet::Invocation call = invocation(std::move(revision));
  const InvocationId id = call.id;
  std::optional<std::string> conversation(request.head->fields.find("Dormouse-Conversation"));
  const auto placed = place_in_conversation(&call, std::move(conversation));
  if (!placed) co_return refuse(Place::native, placed.error(), id.text());
  std::string type(request.head->fields.find("Content-Type").value_or(""));
  if (type.size() > content_type_bytes_max) {
    co_return refuse(Place::native,
                     {Code::invalid_argument, "Content-Type: longer than 1024 bytes"}, id.text());
  }
  if (is_json(type) && raw_signature(*call.revision) != nullptr) {
    auto filling = fill_native(&call, &request.body);
    const Result<> filled = co_await std::move(filling);
    if (!filled) co_return refuse(Place::native, filled.error(), id.text());
  }
  if (!call.content.is_tensors) {
    call.content.content_type = type.empty() ? "application/octet-stream" : std::move(type);
    call.body = std::move(request.body);
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

}  // namespace dormouse::gateway
