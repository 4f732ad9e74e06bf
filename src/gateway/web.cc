#include "gateway/web.h"

#include <algorithm>

#include "async/before.h"
#include "gateway/errors.h"
#include "gateway/outcome.h"
#include "http/head.h"

namespace dormouse::gateway {
namespace {

// A head and a body of up to this size leave with one system call.
constexpr std::size_t joined_bytes_max = 64 << 10;
constexpr int request_timeout = 408;

bool may_be_repeated(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS";
}

class WebCall {
 public:
  WebCall(async::Clock* clock, http::Exchange* client, std::unique_ptr<fleet::Lease> lease,
          WebRequest request)
      : clock_(clock),
        client_(client),
        lease_(std::move(lease)),
        request_(std::move(request)),
        traffic_(lease_->traffic()) {}

  asio::awaitable<void> run() {
    const auto whole = client_->take_whole();
    auto passing = whole ? pass_whole(*whole) : pass_as_it_comes();
    const Result<> passed = co_await std::move(passing);
    if (passed) co_return;
    auto failing = fail(passed.error());
    co_await std::move(failing);
  }

 private:
  std::string head(std::optional<std::uint64_t> size) const;
  asio::awaitable<Result<>> pass_whole(std::string_view body);
  asio::awaitable<Result<http::ReceivedResponse>> ask(std::string_view body);
  asio::awaitable<Result<>> pass_as_it_comes();
  asio::awaitable<Result<>> upload();
  asio::awaitable<Result<>> answer();

  asio::awaitable<Result<>> respond(http::ReceivedResponse);
  asio::awaitable<Result<>> respond_whole(http::Opening, std::string body);
  asio::awaitable<Result<>> respond_as_it_comes(http::Opening);
  asio::awaitable<Result<>> tunnel(http::Opening);
  asio::awaitable<Result<>> carry_in();
  asio::awaitable<Result<>> carry_out();
  http::Opening opening(http::ReceivedResponse&) const;

  asio::awaitable<Result<>> end();
  asio::awaitable<void> fail(Error);

  async::Clock* const clock_;
  http::Exchange* const client_;
  const std::unique_ptr<fleet::Lease> lease_;
  const WebRequest request_;
  http::Upstream* program_ = nullptr;
  fleet::Lease::Traffic& traffic_;
  fleet::Lease::Ending ending_;
  bool has_ended_ = false;
  bool has_begun_ = false;  // The response.
  bool is_slow_ = false;    // The client, with its request.
};

// ---- the request ----

// All lines of a field that is a list, in one. Whoever passed the request on may have said its part
// in a line of its own: the first alone is what a client can say as it likes.
std::string joined(const http::Fields& fields, std::string_view wanted) {
  std::string all;
  for (const auto& [name, value] : fields.all()) {
    if (value.empty() || !http::equals_ignoring_case(name, wanted)) continue;
    if (!all.empty()) all.append(", ");
    all.append(value);
  }
  return all;
}

std::string WebCall::head(std::optional<std::uint64_t> size) const {
  const http::Head& from = client_->head();
  const std::string host(from.fields.find("Host").value_or("localhost"));
  http::Fields further;
  if (!from.fields.find("Host")) further.add("Host", host);  // HTTP/1.1 does not do without.
  const std::string before = joined(from.fields, "X-Forwarded-For");
  further.add("X-Forwarded-For",
              before.empty() ? client_->peer() : before + ", " + client_->peer());
  // Somebody in front of us, who ended TLS, knows these better.
  const std::string asked_host = joined(from.fields, "X-Forwarded-Host");
  further.add("X-Forwarded-Host", asked_host.empty() ? host : asked_host);
  const std::string protocol = joined(from.fields, "X-Forwarded-Proto");
  further.add("X-Forwarded-Proto", protocol.empty() ? "http" : protocol);
  if (!request_.prefix.empty()) further.add("X-Forwarded-Prefix", request_.prefix);
  further.add("Dormouse-Invocation", request_.id.text());
  return http::request_head(
      {.method = from.method,
       .target = request_.target,
       .fields = from.fields,
       .left_out = {request_.left_out[0], request_.left_out[1], "X-Forwarded-Prefix"},
       .further = further,
       .size = size,
       .upgrade = client_->wanted_upgrade()});
}

asio::awaitable<Result<>> WebCall::pass_whole(std::string_view body) {
  traffic_.request_bytes = body.size();
  auto asking = ask(body);
  auto received = co_await std::move(asking);
  if (!received) co_return received.error();
  auto responding = respond(*std::move(received));
  co_return co_await std::move(responding);
}

// A connection that was kept may have been closed by the program at the same moment: what may be
// repeated is, over a new one.
asio::awaitable<Result<http::ReceivedResponse>> WebCall::ask(std::string_view body) {
  const std::string_view method = client_->head().method;
  std::string request = head(body.size());
  const bool joined = body.size() <= joined_bytes_max;
  if (joined) request.append(body);
  for (bool anew = false;; anew = true) {
    auto connecting = lease_->connect(anew);
    const auto connection = co_await std::move(connecting);
    if (!connection) co_return connection.error();
    program_ = *connection;
    program_->begin_request();
    const bool may_repeat = !anew && program_->was_used() && may_be_repeated(method);
    auto sending = program_->send(request);
    Result<> sent = co_await std::move(sending);
    if (sent && !joined) {
      auto rest = program_->send(body);
      sent = co_await std::move(rest);
    }
    if (sent) program_->end_request();
    if (sent || !may_repeat) {  // Who refuses a body may have answered before it was sent.
      auto receiving = program_->response(method == "HEAD");
      auto received = co_await std::move(receiving);
      if (received || !may_repeat) co_return received;
    }
  }
}

asio::awaitable<Result<>> WebCall::pass_as_it_comes() {
  auto connecting = lease_->connect(false);
  const auto connection = co_await std::move(connecting);
  if (!connection) co_return connection.error();
  program_ = *connection;
  program_->begin_request();
  const std::string request = head(client_->head().content_length);
  auto sending = program_->send(request);
  const Result<> sent = co_await std::move(sending);
  if (!sent) co_return sent;
  auto both = async::first_of(upload(), answer());
  const auto first = co_await std::move(both);
  co_return first.index() == 0 ? std::get<0>(first) : std::get<1>(first);
}

// Ends before the answer does only if the client is at fault: a program that wants no more of a
// body says so in its answer.
asio::awaitable<Result<>> WebCall::upload() {
  const bool sized = client_->head().content_length.has_value();
  for (bool wanted = true;;) {
    auto reading = client_->read();
    const auto piece = co_await std::move(reading);
    if (!piece && piece.error().code == Code::deadline_exceeded) {
      is_slow_ = true;  // The client; its call's own deadline comes through the lease.
      co_return Error{Code::invalid_argument, piece.error().message};
    }
    if (!piece) co_return piece.error();
    const std::string_view bytes = piece->value_or("");
    traffic_.request_bytes += bytes.size();
    if (wanted && (!sized || *piece)) {
      auto sending = sized ? program_->send(bytes) : program_->send_chunk(bytes);
      wanted = (co_await std::move(sending)).has_value();
    }
    if (!*piece && wanted) program_->end_request();
    if (!*piece || !wanted) co_await clock_->sleep_until(never);
  }
}

asio::awaitable<Result<>> WebCall::answer() {
  auto receiving = program_->response(client_->head().method == "HEAD");
  auto received = co_await std::move(receiving);
  if (!received) co_return received.error();
  auto responding = respond(*std::move(received));
  co_return co_await std::move(responding);
}

// ---- the response ----

// Names that are ours say what we say, and nothing else.
bool is_ours(std::string_view name) {
  constexpr std::string_view prefix = "dormouse-";
  return http::equals_ignoring_case(name.substr(0, prefix.size()), prefix);
}

http::Opening WebCall::opening(http::ReceivedResponse& received) const {
  http::Opening opening{
      .status = received.status, .size = received.content_length, .has_body = received.has_body};
  for (const auto& [name, value] : received.fields.all()) {
    if (!is_ours(name) && !http::has_option(received.fields, name)) opening.fields.add(name, value);
  }
  const bool has_none = !received.has_body && !received.content_length;
  if (has_none && client_->head().method != "HEAD") opening.size = 0;
  return opening;
}

asio::awaitable<Result<>> WebCall::respond(http::ReceivedResponse received) {
  http::Opening begun = opening(received);
  if (received.status == 101) {
    const bool was_asked = !client_->wanted_upgrade().empty();
    if (!was_asked) co_return Error{Code::function_failed, "the program upgraded unasked"};
    if (!http::lists(received.fields, "Upgrade", client_->wanted_upgrade())) {
      co_return Error{Code::function_failed, "the program upgraded to what nobody asked for"};
    }
    auto tunnelling = tunnel(std::move(begun));
    co_return co_await std::move(tunnelling);
  }
  if (const auto whole = program_->take_whole()) {
    auto responding = respond_whole(std::move(begun), std::string(*whole));
    co_return co_await std::move(responding);
  }
  auto responding = respond_as_it_comes(std::move(begun));
  co_return co_await std::move(responding);
}

Error cannot_be_sent() {
  return {Code::function_failed,
          "the program answered with a header or status that cannot be sent"};
}

asio::awaitable<Result<>> WebCall::respond_whole(http::Opening begun, std::string body) {
  traffic_.response_bytes = body.size();
  auto ending = end();
  const Result<> ended = co_await std::move(ending);
  if (!ended) co_return ended;
  add_fields(begun.fields, request_.id, ending_.receipt);
  if (!client_->begin(std::move(begun))) co_return cannot_be_sent();
  has_begun_ = true;
  auto writing = client_->write(body);
  co_return co_await std::move(writing);
}

// The last bytes leave when the call's end is on record, and no sooner.
asio::awaitable<Result<>> WebCall::respond_as_it_comes(http::Opening begun) {
  add_fields(begun.fields, request_.id, {});
  const auto size = begun.size;
  const bool is_here = program_->has_more_here();
  Result<std::optional<std::string_view>> piece = std::nullopt;
  if (is_here) {  // If it is malformed, that can still be told instead.
    auto reading = program_->read();
    piece = co_await std::move(reading);
    if (!piece) co_return piece.error();
  }
  if (!client_->begin(std::move(begun))) co_return cannot_be_sent();
  has_begun_ = true;
  if (!is_here) {
    auto opening = client_->write("");  // It may be long until the first event of a stream.
    const Result<> opened = co_await std::move(opening);
    if (!opened) co_return opened;
  }
  for (bool is_read = is_here;; is_read = false) {
    if (!is_read) {
      auto reading = program_->read();
      piece = co_await std::move(reading);
      if (!piece) co_return piece.error();
    }
    if (!*piece) break;
    traffic_.response_bytes += (*piece)->size();
    std::string last;
    if (size == traffic_.response_bytes) {
      last = **piece;
      auto ending = end();
      const Result<> ended = co_await std::move(ending);
      if (!ended) co_return ended;
    }
    auto writing = client_->write(has_ended_ ? std::string_view(last) : **piece);
    const Result<> written = co_await std::move(writing);
    if (!written) co_return written;
    if (has_ended_) co_return ok;
  }
  auto ending = end();
  const Result<> ended = co_await std::move(ending);
  if (!ended) co_return ended;
  http::Fields trailers;
  add_fields(trailers, request_.id, ending_.receipt);
  auto finishing = client_->finish(std::move(trailers));
  co_return co_await std::move(finishing);
}

// ---- a WebSocket ----

asio::awaitable<Result<>> WebCall::tunnel(http::Opening begun) {
  begun.upgrade = client_->wanted_upgrade();
  add_fields(begun.fields, request_.id, {});
  if (!client_->begin(std::move(begun))) co_return cannot_be_sent();
  has_begun_ = true;
  auto opening = client_->write("");
  const Result<> opened = co_await std::move(opening);
  if (!opened) co_return opened;
  auto both = async::first_of(carry_in(), carry_out());
  const auto first = co_await std::move(both);
  const Result<> carried = first.index() == 0 ? std::get<0>(first) : std::get<1>(first);
  if (!carried) co_return carried;
  auto ending = end();
  co_return co_await std::move(ending);
}

asio::awaitable<Result<>> WebCall::carry_in() {
  for (;;) {
    auto reading = client_->read();
    const auto piece = co_await std::move(reading);
    if (!piece) co_return piece.error();
    if (!*piece) co_return ok;
    traffic_.request_bytes += (*piece)->size();
    auto sending = program_->send(**piece);
    const Result<> sent = co_await std::move(sending);
    if (!sent) co_return sent;
  }
}

asio::awaitable<Result<>> WebCall::carry_out() {
  for (;;) {
    auto reading = program_->read();
    const auto piece = co_await std::move(reading);
    if (!piece) co_return piece.error();
    if (!*piece) co_return ok;
    traffic_.response_bytes += (*piece)->size();
    auto writing = client_->write(**piece);
    const Result<> written = co_await std::move(writing);
    if (!written) co_return written;
  }
}

// ---- the end ----

asio::awaitable<Result<>> WebCall::end() {
  auto ending = lease_->end(std::nullopt);
  ending_ = co_await std::move(ending);
  has_ended_ = true;
  if (ending_.failure) co_return *ending_.failure;
  co_return ok;
}

// Once a response has begun there is no other way to tell of it than to break off.
asio::awaitable<void> WebCall::fail(Error why) {
  if (!has_ended_) {
    auto ending = lease_->end(why);
    ending_ = co_await std::move(ending);
  }
  if (has_begun_) co_return;
  const Error told = ending_.failure.value_or(why);
  auto response = error_response(told, request_.id.text());
  if (is_slow_ && told == why) response.status = request_timeout;
  add_fields(response.fields, request_.id, ending_.receipt);
  auto sending = send(client_, std::move(response));
  co_await std::move(sending);
}

}  // namespace

asio::awaitable<void> serve_web(async::Clock* clock, http::Exchange* client,
                                std::unique_ptr<fleet::Lease> lease, WebRequest request) {
  WebCall call(clock, client, std::move(lease), std::move(request));
  auto running = call.run();
  co_await std::move(running);
}

asio::awaitable<void> send(http::Exchange* client, http::Response response) {
  const std::string body = std::get<http::Body>(response.body).text();
  const bool to_head = client->head().method == "HEAD";
  const bool begun = client->begin({.status = response.status,
                                    .fields = std::move(response.fields),
                                    .size = body.size(),
                                    .has_body = !to_head});
  CHECK(begun);
  auto writing = client->write(to_head ? std::string_view() : body);
  (void)co_await std::move(writing);  // Else nobody is there to be told.
}

}  // namespace dormouse::gateway
