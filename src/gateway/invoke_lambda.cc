// AWS Lambda's Invoke and InvokeWithResponseStream: from a signed request to an invocation, and
// from its outcome to what AWS's clients expect.
#include <algorithm>
#include <expected>
#include <utility>

#include "gateway/errors.h"
#include "gateway/gateway.h"
#include "gateway/lambda.h"
#include "gateway/lambda_client.h"
#include "gateway/native_call.h"
#include "gateway/outcome.h"
#include "gateway/sigv4.h"

namespace dormouse::gateway {
namespace {

constexpr std::string_view event_stream = "application/vnd.amazon.eventstream";

std::string limit_text(std::uint64_t bytes) {
  return "Request must be smaller than " + std::to_string(bytes) +
         " bytes for the InvokeFunction operation";
}

LambdaFault not_json(const Error& error) {
  return {400, "InvalidRequestContentException", error.message};
}

// What its client says of itself, for a function that can be told.
std::expected<std::string, LambdaFault> client_context(
    const http::Fields& fields, const catalog::Revision& called,
    const std::map<std::string, fleet::Runtime>& runtimes) {
  auto read = read_client_context(fields);
  if (!read) return std::unexpected(not_json(read.error()));
  const std::string& runtime = called.manifest.runtime;
  if (read->empty() || fleet::runtime_of(runtimes, runtime).client_context) return *std::move(read);
  return std::unexpected(lambda_fault(
      Error{Code::invalid_argument, "ClientContext: functions of runtime " + runtime +
                                        " cannot be told who calls them; leave it out"}));
}

// Of a call that was not answered, and whose failure is not the function's own.
http::Response fault_response(const fleet::Outcome& outcome) {
  const Error& error = outcome.answer.error();
  // The worker, or the translation to tensors, does not understand the payload.
  if (error.code == Code::invalid_argument) return lambda_response(not_json(error));
  return lambda_response(lambda_fault(error, outcome.retry_after));
}

}  // namespace

// What is to be known of a call when its outcome is there.
struct Gateway::LambdaInvocation {
  InvocationId id;
  catalog::RevisionPtr revision;
  bool log_tail = false;
  std::uint64_t log_before = 0;  // The newest line when it began.
};

http::Admission Gateway::admit_lambda(const Route& to, const http::Head& head, bool loopback) {
  const auto refuse = [this](const LambdaFault& fault) {
    http::Response response = lambda_response(fault);
    response.fields.add("x-amzn-RequestId", new_id().text());
    return response;
  };
  if (!parts_.keys->empty() && !parts_.keys->accept(head.fields)) {
    const auto fault = check_head(head, *parts_.keys, parts_.clock->wall(), signing_key_);
    if (fault) return refuse(lambda_fault(*fault));
  }
  if (to.place == Place::lambda_api) return parts_.lambda_api->admit(head, loopback);
  if (auto good = check_page(head); !good) return refuse(lambda_fault(good.error()));
  if (head.method != to.methods) {
    return refuse({405, "UnknownOperationException", head.method + " is not allowed here"});
  }
  if (head.content_length.value_or(0) > lambda_payload_bytes_max) {
    return refuse({413, "RequestTooLargeException", limit_text(lambda_payload_bytes_max)});
  }
  // Which functions there are is not said to just anybody.
  return http::Receiving{lambda_payload_bytes_max};
}

asio::awaitable<http::Response> Gateway::lambda(http::Request request, Route to) {
  const InvocationId id = new_id();
  auto answering = answer_lambda(std::move(request), std::move(to), id);
  http::Response response = co_await std::move(answering);
  response.fields.add("x-amzn-RequestId", id.text());
  co_return response;
}

asio::awaitable<http::Response> Gateway::answer_lambda(http::Request request, Route to,
                                                       InvocationId id) {
  if (!parts_.keys->empty() && !parts_.keys->accept(request.head->fields)) {
    const auto body = request.body.view();
    if (!body) co_return lambda_response(lambda_fault(body.error()));
    auto work = [&, keys = *parts_.keys] { return check_body(*request.head, keys, *body); };
    auto checking = off_loop(body->size(), work);
    const auto fault = co_await std::move(checking);
    if (fault) co_return lambda_response(lambda_fault(*fault));
  }
  if (to.place == Place::lambda_api) {
    auto handling = parts_.lambda_api->handle(std::move(request));
    co_return co_await std::move(handling);
  }
  auto invoking = invoke_lambda(std::move(request), std::move(to), id);
  co_return co_await std::move(invoking);
}

asio::awaitable<http::Response> Gateway::invoke_lambda(http::Request request, Route to,
                                                       InvocationId id) {
  const auto named = read_lambda_name(to.name, request.head->query);
  if (!named) co_return lambda_response(lambda_fault(named.error()));
  auto revision = find_qualified(*parts_.catalog, *named);
  if (!revision) co_return lambda_response(lambda_fault(revision.error()));
  if (listens(**revision)) {
    co_return lambda_response(lambda_fault(
        Error{Code::unsupported, "the function is an HTTP server: call it at /f/NAME/"}));
  }
  const auto wishes = read_lambda_wishes(request.head->fields);
  if (!wishes) co_return lambda_response(lambda_fault(wishes.error()));
  auto context = client_context(request.head->fields, **revision, parts_.fleet->runtimes());
  if (!context) co_return lambda_response(context.error());
  if (wishes->call == LambdaCall::dry_run) {
    http::Response response;
    response.status = 204;
    co_return response;
  }
  const auto own_max = static_cast<std::uint64_t>((*revision)->manifest.body_bytes_max);
  if (request.body.size() > own_max) {
    co_return lambda_response({413, "RequestTooLargeException", limit_text(own_max)});
  }
  const LambdaInvocation it{.id = id,
                            .revision = *revision,
                            .log_tail = wishes->log_tail,
                            .log_before = parts_.logs->last(named->name)};
  fleet::Invocation call = invocation(*std::move(revision));
  call.id = id;
  call.wishes = {.exactly = named->is_exact(),
                 .timed_from_begin = true,
                 .client_context = *std::move(context)};
  auto filling = fill_lambda(&call, &request.body);
  const Result<> filled = co_await std::move(filling);
  const auto serves = find_qualified(*parts_.catalog, *named);
  if (!serves || *serves != it.revision) {  // What it was read for no longer does.
    call = {};
    auto anew = invoke_lambda(std::move(request), std::move(to), id);
    co_return co_await std::move(anew);
  }
  if (!filled) co_return lambda_response(not_json(filled.error()));
  if (!call.content.is_tensors) {
    call.content.content_type = "application/json";
    call.body = request.body.size() == 0 ? http::Body("{}") : std::move(request.body);
  }
  request.body = {};
  auto running = parts_.fleet->invoke(std::move(call));
  fleet::Outcome outcome = co_await std::move(running);
  if (outcome.answer && outcome.answer->lease) outcome.answer = became_another();
  if (to.place != Place::lambda_stream && outcome.answer && outcome.answer->stream) {
    auto gathering = lambda_gathered(std::move(outcome));
    outcome = co_await std::move(gathering);
  }
  const auto receipt = outcome.receipt;
  auto telling = to.place == Place::lambda_stream ? lambda_streamed(it, std::move(outcome))
                                                  : lambda_whole(it, std::move(outcome));
  http::Response response = co_await std::move(telling);
  add_fields(response.fields, id, receipt);
  co_return response;
}

// The payload, as what the function takes: JSON, which is checked, or what tensors it is.
asio::awaitable<Result<>> Gateway::fill_lambda(fleet::Invocation* call, const http::Body* body) {
  const auto text = body->view();
  if (!text) co_return text.error();
  const wire::Signature* const signature = raw_signature(*call->revision);
  auto work = [&]() -> Result<> {
    if (signature == nullptr) return check_lambda_payload(*text);
    return fill_tensors(*call, text->empty() ? "{}" : *text, *signature);
  };
  auto reading = off_loop(text->size(), work);
  co_return co_await std::move(reading);
}

// What streams, as the whole answer that Invoke has of it.
asio::awaitable<fleet::Outcome> Gateway::lambda_gathered(fleet::Outcome outcome) {
  const std::unique_ptr<fleet::Stream> stream = std::move(outcome.answer->stream);
  std::string all;
  while (all.size() <= lambda_payload_bytes_max) {
    auto taking = stream->next();
    auto piece = co_await std::move(taking);
    outcome.receipt = stream->receipt();
    if (!piece) {
      outcome.answer = std::move(piece).error();
      co_return outcome;
    }
    if (!*piece) {
      outcome.answer->body = http::Body(std::move(all));
      co_return outcome;
    }
    all += **piece;
  }
  Error too_large{Code::function_failed,
                  "Function.ResponseSizeTooLarge: Response payload size exceeded maximum "
                  "allowed payload size (" +
                      std::to_string(lambda_payload_bytes_max) + " bytes)."};
  auto ending = stream->give_up(too_large);
  co_await std::move(ending);
  outcome.receipt = stream->receipt();
  outcome.answer = std::move(too_large);
  co_return outcome;
}

// A function's log has all of a call's lines by the time the call is answered.
asio::awaitable<std::string> Gateway::lambda_tail(LambdaInvocation it) {
  constexpr std::uint64_t lines_max = 4096;
  if (!it.log_tail) co_return "";
  const std::string& name = it.revision->manifest.name;
  const std::uint64_t last = parts_.logs->last(name);
  const std::uint64_t from = std::max(it.log_before, last - std::min(last, lines_max));
  if (last == from) co_return "";
  auto reading = parts_.logs->read(name, {from, lines_max, it.id.text()});
  const auto part = co_await std::move(reading);
  co_return part ? lambda_log_result(part->lines) : "";
}

asio::awaitable<http::Response> Gateway::lambda_whole(LambdaInvocation it, fleet::Outcome outcome) {
  http::Response response;
  if (!outcome.answer && !is_functions_own(outcome.answer.error().code)) {
    co_return fault_response(outcome);
  }
  if (!outcome.answer) {
    const Duration timeout = it.revision->manifest.timeout;
    response.fields.add("Content-Type", "application/json");
    response.fields.add("X-Amz-Function-Error", "Unhandled");
    response.body = http::Body(lambda_error_document(outcome.answer.error(), it.id, timeout));
  } else if (outcome.answer->content.is_tensors) {
    auto writing = tensors_response(std::move(*outcome.answer));
    response = co_await std::move(writing);
  } else {
    response = bytes_response(std::move(*outcome.answer));
  }
  response.fields.add("X-Amz-Executed-Version", std::to_string(it.revision->number));
  auto reading = lambda_tail(it);
  std::string tail = co_await std::move(reading);
  if (!tail.empty()) response.fields.add("X-Amz-Log-Result", tail);
  co_return response;
}

// ---- streamed ----

// An answer on its way out as events.
struct Gateway::LambdaStream {
  LambdaInvocation invocation;
  std::unique_ptr<fleet::Stream> pieces;  // nullptr: `body` is all there is.
  http::Body body;
  std::uint64_t sent = 0;  // Of the body.
  std::string error_document;
  bool complete = false;
};

asio::awaitable<http::Response> Gateway::lambda_streamed(LambdaInvocation it,
                                                         fleet::Outcome outcome) {
  if (!outcome.answer && !is_functions_own(outcome.answer.error().code)) {
    co_return fault_response(outcome);
  }
  auto stream = std::make_shared<LambdaStream>();
  stream->invocation = it;
  if (!outcome.answer) {
    stream->error_document =
        lambda_error_document(outcome.answer.error(), it.id, it.revision->manifest.timeout);
  } else if (outcome.answer->content.is_tensors) {
    auto writing = tensors_response(std::move(*outcome.answer));
    http::Response whole = co_await std::move(writing);
    stream->body = std::get<http::Body>(std::move(whole.body));
  } else {
    stream->pieces = std::move(outcome.answer->stream);
    stream->body = std::move(outcome.answer->body);
  }
  http::Response response;
  response.fields.add("Content-Type", event_stream);
  response.fields.add("X-Amz-Executed-Version", std::to_string(it.revision->number));
  response.body = http::Pieces([this, stream] { return next_lambda_event(stream); });
  co_return response;
}

asio::awaitable<Result<std::optional<std::string>>> Gateway::next_lambda_event(
    std::shared_ptr<LambdaStream> stream) {
  constexpr std::uint64_t piece_bytes_max = 256 << 10;
  if (stream->complete) co_return std::nullopt;
  while (stream->pieces) {
    auto taking = stream->pieces->next();
    auto piece = co_await std::move(taking);
    if (piece && *piece && !(*piece)->empty()) co_return lambda_payload_chunks(**piece);
    if (piece && *piece) continue;
    if (!piece) {
      stream->error_document = lambda_error_document(piece.error(), stream->invocation.id,
                                                     stream->invocation.revision->manifest.timeout);
    }
    stream->pieces.reset();
  }
  if (stream->sent < stream->body.size()) {
    const auto whole = stream->body.view();
    if (!whole) co_return whole.error();
    const std::string_view piece = whole->substr(stream->sent, piece_bytes_max);
    stream->sent += piece.size();
    co_return lambda_payload_chunks(piece);
  }
  stream->complete = true;
  auto reading = lambda_tail(stream->invocation);
  const std::string tail = co_await std::move(reading);
  co_return lambda_complete(stream->error_document, tail);
}

}  // namespace dormouse::gateway
