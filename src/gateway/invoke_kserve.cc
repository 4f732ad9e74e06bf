// KServe v2: what infers.
#include "gateway/errors.h"
#include "gateway/gateway.h"
#include "gateway/native_call.h"
#include "gateway/outcome.h"

namespace dormouse::gateway {

// `gathered`: the tensors' bytes, unless they lie in the request's body as they must.
struct Gateway::InferRead {
  InferRequest request;
  http::Body gathered;
};

namespace {

http::Response refuse(const Error& error, std::string_view invocation = {},
                      Duration retry_after = {}) {
  http::Response response = error_response(error, invocation, retry_after);
  response.body = http::Body(kserve_error(error.message));
  return response;
}

Error no_tensors(const catalog::Manifest& manifest) {
  if (manifest.task.empty()) {
    return {Code::unsupported, "this function takes no tensors; POST to /f/" + manifest.name};
  }
  return {Code::unsupported, "this function takes no tensors: its task, " + manifest.task +
                                 ", makes them of pictures; POST one to /f/" + manifest.name};
}

http::Response binary_response(InferResponse said, http::Body body) {
  http::Response response;
  response.fields.add("Content-Type", "application/octet-stream");
  response.fields.add("Inference-Header-Content-Length", std::to_string(said.header.size()));
  http::Spliced all{.head = std::move(said.header), .of = std::move(body), .parts = {}};
  for (const wire::Tensor& each : said.binary) all.add({each.offset, each.size});
  response.body = std::move(all);
  return response;
}

}  // namespace

asio::awaitable<http::Response> Gateway::infer(http::Request request, Route to,
                                               catalog::RevisionPtr revision) {
  fleet::Invocation call = invocation(std::move(revision));
  const InvocationId id = call.id;
  auto reading = read_infer(&call, &to, &request);
  Result<InferRead> read = co_await std::move(reading);
  if (!read) co_return refuse(read.error(), id.text());
  InferRequest& infer = read->request;
  call.content = {.tensors = infer.tensors, .is_tensors = true};
  call.outputs = infer.outputs;
  const std::uint64_t header = header_length(request.head->fields)->value_or(0);
  call.body = infer.in_place ? std::move(request.body).behind(header) : std::move(read->gathered);
  const std::int32_t version = call.revision->number;
  auto running = parts_.fleet->invoke(std::move(call));
  fleet::Outcome outcome = co_await std::move(running);
  if (!outcome.answer) {
    auto refused = refuse(outcome.answer.error(), id.text(), outcome.retry_after);
    add_fields(refused.fields, id, outcome.receipt);
    co_return refused;
  }
  auto writing = infer_answer(std::move(infer), to.name, version, std::move(*outcome.answer));
  http::Response response = co_await std::move(writing);
  add_fields(response.fields, id, outcome.receipt);
  co_return response;
}

// For the version that it names, or the revision that serves once it is read.
asio::awaitable<Result<Gateway::InferRead>> Gateway::read_infer(fleet::Invocation* call,
                                                                const Route* to,
                                                                const http::Request* request) {
  const auto header = header_length(request->head->fields);
  const auto body = request->body.view();
  if (!body) co_return body.error();
  call->wishes.exactly = !to->version.empty();
  for (;;) {
    const wire::Signature* const signature = raw_signature(*call->revision);
    if (signature == nullptr) co_return no_tensors(call->revision->manifest);
    if (!header) co_return header.error();
    auto reading = read_infer_for(signature, *body, *header);
    Result<InferRead> read = co_await std::move(reading);
    const auto still = asked_for(*to);
    if (!still) co_return still.error();
    if (call->wishes.exactly || !catch_up(call)) co_return read;
  }
}

asio::awaitable<Result<Gateway::InferRead>> Gateway::read_infer_for(
    const wire::Signature* signature, std::string_view body, std::optional<std::uint64_t> header) {
  const auto read = [=](std::uint64_t copy_bytes_max) -> Result<InferRead> {
    auto parsed = parse_infer(body, header, *signature, copy_bytes_max);
    if (!parsed) return std::move(parsed).error();
    auto gathered = body_of(std::exchange(parsed->bytes, {}));
    if (!gathered) return std::move(gathered).error();
    return InferRead{*std::move(parsed), *std::move(gathered)};
  };
  if (header.value_or(body.size()) <= parse_here_bytes_max) {
    auto here = read(parse_here_bytes_max);
    if (!here || !here->request.is_unfinished) co_return here;
  }
  auto elsewhere = parser_.run([read, size = body.size()] { return read(size); });
  co_return co_await std::move(elsewhere);
}

asio::awaitable<http::Response> Gateway::infer_answer(InferRequest infer, std::string model,
                                                      std::int32_t version, fleet::Answer answer) {
  const auto bytes = answer.body.view();
  if (!bytes) co_return refuse(bytes.error());
  const std::vector<wire::Tensor>& tensors = answer.content.tensors;
  if (!answer.content.is_tensors) {
    co_return refuse({Code::unsupported, "the function answered with something else than tensors"});
  }
  auto work = [&] { return infer_response(infer, model, version, tensors, *bytes); };
  auto writing = off_loop(bytes_as_json(infer, tensors), work);
  Result<InferResponse> made = co_await std::move(writing);
  if (!made) co_return refuse(made.error());
  if (made->binary.empty()) co_return json_response(std::move(made->header));
  co_return binary_response(*std::move(made), std::move(answer.body));
}

}  // namespace dormouse::gateway
