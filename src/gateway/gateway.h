// Where invocations come in: routes a request, checks its key, turns its dialect into an
// Invocation, and the Outcome back into that dialect. One file per dialect: native, kserve, web,
// lambda, openai.
//
//   POST /f/{name}                              native
//   /f/{name}/…, {name}.localhost               web
//   /v2/…                                       KServe v2
//   /v1/…                                       OpenAI's API, for language models
//   /2015-03-31/functions/… and the like        AWS Lambda's API; what deploys is somebody else's
//   GET  /metrics                               Prometheus
//   /api/…                                      the control API, which is somebody else's
//
// Threads    One executor. Bodies over 16 KiB are parsed and written on a thread of their own.
// Ownership  Everything in Parts outlives the Gateway.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "async/clock.h"
#include "async/thread.h"
#include "catalog/catalog.h"
#include "fleet/fleet.h"
#include "gateway/keys.h"
#include "gateway/kserve.h"
#include "gateway/origin.h"
#include "gateway/route.h"
#include "gateway/sigv4.h"
#include "http/server.h"

namespace dormouse::gateway {

struct Parts {
  async::Clock* clock;
  catalog::Catalog* catalog;
  fleet::Fleet* fleet;
  http::Handler* api;         // For every path under /api/.
  http::Handler* lambda_api;  // For AWS Lambda's paths that do not invoke.
  logs::Logs* logs;
  const Keys* keys;                               // Empty: nobody needs one.
  Hosts hosts;                                    // That the node is known by.
  std::function<http::Counters()> http_counters;  // Of the server in front.
  std::string version;
};

class Gateway final : public http::Handler {
 public:
  explicit Gateway(Parts);
  ~Gateway() override;

  http::Admission admit(const http::Head&, bool loopback) override;
  asio::awaitable<http::Response> handle(http::Request) override;
  asio::awaitable<void> pass(http::Exchange*) override;
  void grace_is_over() override { parts_.fleet->end_calls(); }

 private:
  struct Ids;

  asio::awaitable<http::Response> serve(http::Request, Route);
  asio::awaitable<http::Response> native(http::Request, catalog::RevisionPtr);
  asio::awaitable<http::Response> tensors_response(fleet::Answer);
  asio::awaitable<Result<>> fill_native(fleet::Invocation*, const http::Body*);
  bool catch_up(fleet::Invocation*) const;
  // The version that it names, or else what serves.
  Result<catalog::RevisionPtr> asked_for(const Route&) const;
  http::Response metrics();
  bool listens(const catalog::Revision&) const;

  // In invoke_kserve.cc.
  struct InferRead;
  asio::awaitable<http::Response> infer(http::Request, Route, catalog::RevisionPtr);
  asio::awaitable<Result<InferRead>> read_infer(fleet::Invocation*, const Route*,
                                                const http::Request*);
  asio::awaitable<Result<InferRead>> read_infer_for(const wire::Signature*, std::string_view body,
                                                    std::optional<std::uint64_t> header);
  asio::awaitable<http::Response> infer_answer(InferRequest, std::string model,
                                               std::int32_t version, fleet::Answer);

  // In invoke_lambda.cc.
  struct LambdaInvocation;
  struct LambdaStream;
  Result<> check_page(const http::Head&) const;
  http::Admission admit_lambda(const Route&, const http::Head&, bool loopback);
  asio::awaitable<http::Response> lambda(http::Request, Route);
  asio::awaitable<http::Response> answer_lambda(http::Request, Route, InvocationId);
  asio::awaitable<http::Response> invoke_lambda(http::Request, Route, InvocationId);
  asio::awaitable<Result<>> fill_lambda(fleet::Invocation*, const http::Body*);
  asio::awaitable<fleet::Outcome> lambda_gathered(fleet::Outcome);
  asio::awaitable<http::Response> lambda_whole(LambdaInvocation, fleet::Outcome);
  asio::awaitable<http::Response> lambda_streamed(LambdaInvocation, fleet::Outcome);
  asio::awaitable<Result<std::optional<std::string>>> next_lambda_event(
      std::shared_ptr<LambdaStream>);
  asio::awaitable<std::string> lambda_tail(LambdaInvocation);

  // In invoke_openai.cc.
  http::Admission admit_openai(const Route&, const http::Head&);
  asio::awaitable<http::Response> openai(http::Request, Route);
  asio::awaitable<http::Response> call_openai(http::Request, Route);
  Result<catalog::RevisionPtr> language_model(const std::string& name) const;
  bool is_language_model(const catalog::Revision&) const;
  Result<> place_in_conversation(fleet::Invocation*, std::optional<std::string> name) const;

  InvocationId new_id();
  fleet::Invocation invocation(catalog::RevisionPtr);

  // Runs `work` here if `bytes` are few, and on the parser's thread otherwise.
  template <class Work>
  asio::awaitable<std::invoke_result_t<Work>> off_loop(std::uint64_t bytes, Work work) {
    if (bytes <= parse_here_bytes_max) co_return work();
    auto elsewhere = parser_.run(std::move(work));
    co_return co_await std::move(elsewhere);
  }
  static constexpr std::uint64_t parse_here_bytes_max = 16 << 10;
  static constexpr int parser_nice = 10;

  Parts parts_;
  SigningKey signing_key_;
  async::Thread parser_{"parsing", parser_nice};
  std::unique_ptr<Ids> ids_;
};

}  // namespace dormouse::gateway
