#include "control/control.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <optional>
#include <set>

#include "control/access.h"
#include "control/answers.h"
#include "control/manifest.h"
#include "control/quantities.h"
#include "control/query.h"
#include "gateway/errors.h"

namespace dormouse::control {
namespace {

using gateway::error_response;

http::Response answer(const json::object& object) {
  http::Response response;
  response.fields.add("Content-Type", "application/json");
  response.fields.add("Cache-Control", "no-store");
  response.body = http::Body(json::serialize(object) + "\n");
  return response;
}

http::Response stream(http::Pieces pieces) {
  http::Response response;
  response.fields.add("Content-Type", "application/x-ndjson");
  response.fields.add("Cache-Control", "no-store");
  response.body = std::move(pieces);
  return response;
}

http::Response with_status(int status, const Error& error) {
  http::Response response = error_response(error);
  response.status = status;
  return response;
}

Error no_function(const std::string& name) {
  return {Code::not_found, "there is no function \"" + name.substr(0, 100) + "\""};
}

// The newest of those that do not serve.
std::string other_revisions(const catalog::Function& function) {
  constexpr int shown_max = 10;
  std::string all;
  int shown = 0;
  for (auto it = function.revisions.rbegin(); it != function.revisions.rend(); ++it) {
    if (it->first == function.active) continue;
    if (shown++ == shown_max) return all + ", …";
    all += (all.empty() ? "" : ", ") + std::to_string(it->first);
  }
  return all;
}

Result<std::int32_t> previous_revision(const catalog::Function& function) {
  if (const std::int32_t previous = function.previous(); previous != 0) return previous;
  const std::string serving = function.name + "@" + std::to_string(function.active);
  if (function.revisions.size() == 1) {
    return Error{Code::conflict, serving + " is the only revision there is of it"};
  }
  return Error{Code::conflict, serving + " came after none that is there; `dormouse rollback " +
                                   function.name +
                                   " N` goes to another one: " + other_revisions(function)};
}

Result<std::int32_t> wanted_revision(const json::value& body, const catalog::Function& function) {
  if (!body.is_object()) return Error{Code::invalid_argument, "the body is not a map"};
  for (const auto& entry : body.get_object()) {
    if (entry.key() == "revision") continue;
    constexpr std::string_view known[] = {"revision"};
    return unknown_name("field", std::string_view(entry.key()), known);
  }
  const json::value* number = body.get_object().if_contains("revision");
  if (number == nullptr) return previous_revision(function);
  const bool fits = number->is_int64() && number->get_int64() > 0 &&
                    number->get_int64() <= std::numeric_limits<std::int32_t>::max();
  if (!fits) return Error{Code::invalid_argument, "revision is a number from 1"};
  return static_cast<std::int32_t>(number->get_int64());
}

Result<std::vector<Digest>> digests_in(const json::value& body) {
  constexpr std::size_t digests_max = 10'000;
  const json::value* list = body.is_object() ? body.get_object().if_contains("digests") : nullptr;
  if (list == nullptr || !list->is_array()) {
    return Error{Code::invalid_argument, "digests is not a list"};
  }
  if (list->get_array().size() > digests_max) return Error{Code::too_large, "too many digests"};
  std::vector<Digest> digests;
  for (const json::value& entry : list->get_array()) {
    if (!entry.is_string()) return Error{Code::invalid_argument, "a digest is a text"};
    auto digest = Digest::parse(std::string_view(entry.get_string()));
    if (!digest) return digest.error();
    digests.push_back(std::move(*digest));
  }
  return digests;
}

}  // namespace

Control::Control(Deps deps)
    : deps_(std::move(deps)),
      garbage_(deps_.executor, deps_.clock, deps_.catalog, deps_.blobs, deps_.conversations,
               [this](const std::string& name) { return deploys_.is_changing(name); }),
      deploys_(deps_.executor, deps_.clock, deps_.catalog, deps_.secrets, deps_.blobs, deps_.fleet,
               &garbage_),
      secret_changes_(deps_.executor, deps_.clock, deps_.catalog, deps_.secrets, deps_.fleet),
      lambda_({.catalog = deps_.catalog,
               .blobs = deps_.blobs,
               .logs = deps_.logs,
               .deploys = &deploys_,
               .keys = deps_.keys,
               .hosts = deps_.hosts,
               .unpack = deps_.unpack,
               .network = deps_.lambda_network}) {
}

http::Admission Control::admit(const http::Head& head, bool loopback) {
  if (auto good = gateway::check_origin(head.fields, deps_.hosts); !good) {
    return with_status(403, good.error());
  }
  if (deps_.keys->empty() && !loopback) {
    return error_response({Code::unauthorized, "without a key file, only this machine is served"});
  }
  if (!deps_.keys->empty() && !deps_.keys->accept(head.fields)) {
    return error_response(gateway::Keys::refusal(head.fields));
  }
  const Match found = match(head.method, head.path);
  if (found.route == nullptr && found.allow.empty()) {
    return error_response({Code::not_found, "no such path; see /api/v1/openapi.json"});
  }
  if (found.route == nullptr) {
    auto response = with_status(405, {Code::unsupported, "this path takes " + found.allow});
    response.fields.add("Allow", found.allow);
    return response;
  }
  if (auto good = check_content_type(head, found.route->accepts); !good) {
    return error_response(good.error());
  }
  return http::Receiving{found.route->body_bytes_max};
}

asio::awaitable<http::Response> Control::handle(http::Request request) {
  Match found = match(request.head->method, request.head->path);
  CHECK(found.route != nullptr);  // admit() let it in.
  co_return co_await dispatch(found.route->operation, std::move(found.parameters),
                              std::move(request));
}

asio::awaitable<http::Response> Control::dispatch(Operation operation, Parameters parameters,
                                                  http::Request request) {
  switch (operation) {
    case Operation::node: co_return node();
    case Operation::doctor: co_return co_await doctor();
    case Operation::openapi: {
      http::Response response = answer({});
      response.body = http::Body(openapi_document(deps_.node.version) + "\n");
      co_return response;
    }
    case Operation::blobs_missing: co_return co_await blobs_missing(std::move(request));
    case Operation::blob_upload: co_return co_await upload(parameters[0], std::move(request));
    case Operation::deploy: co_return co_await deploy(parameters[0], std::move(request));
    case Operation::list: co_return co_await list();
    case Operation::show: co_return co_await show(parameters[0]);
    case Operation::remove: co_return co_await remove(parameters[0]);
    case Operation::remove_revision:
      co_return co_await remove_revision(parameters[0], parameters[1]);
    case Operation::revisions: co_return revisions(parameters[0]);
    case Operation::rollback: co_return co_await rollback(parameters[0], std::move(request));
    case Operation::logs: co_return logs(parameters[0], request.head->query);
    case Operation::usage: co_return co_await usage(request.head->query);
    case Operation::invocation: co_return co_await invocation(parameters[0]);
    case Operation::conversations: co_return conversations(parameters[0]);
    case Operation::conversations_forget:
      co_return forget_conversations(parameters[0], request.head->query);
    case Operation::secrets: co_return secrets();
    case Operation::secret_set: co_return co_await set_secret(parameters[0], std::move(request));
    case Operation::secret_remove: co_return co_await remove_secret(parameters[0]);
  }
  CHECK_UNREACHABLE("every Operation is carried out");
}

// Parsing takes some 20 ms per MB: what is long is parsed off the loop.
asio::awaitable<Result<json::value>> Control::body_of(http::Request request) {
  constexpr std::uint64_t short_bytes_max = 16 << 10;
  const auto text = request.body.view();
  if (!text) co_return text.error();
  if (text->size() <= short_bytes_max) co_return gateway::parse_json(*text);
  auto parse = [view = *text] { return gateway::parse_json(view); };
  co_return co_await aside_.run(std::move(parse));
}

http::Response Control::node() const {
  json::array runtimes;
  for (const auto& [name, runtime] : deps_.fleet->runtimes())
    runtimes.push_back(json::string(name));
  const NodeFacts& facts = deps_.node;
  return answer({{"name", facts.name},
                 {"version", facts.version},
                 {"data", facts.data_dir},
                 {"listen", facts.listen},
                 {"started", time_text(facts.started)},
                 {"memory_bytes", facts.resources.memory_bytes},
                 {"cpu_millicores", facts.resources.cpu_millicores},
                 {"currency", facts.currency},
                 {"runtimes", std::move(runtimes)},
                 {"functions", deps_.catalog->all().size()}});
}

asio::awaitable<http::Response> Control::doctor() {
  auto examine = deps_.examine;
  const auto findings = co_await aside_.run(std::move(examine));
  json::array all;
  for (const sandbox::Finding& finding : findings) all.push_back(finding_json(finding));
  co_return answer({{"findings", std::move(all)}});
}

asio::awaitable<http::Response> Control::blobs_missing(http::Request request) {
  const auto body = co_await body_of(std::move(request));
  if (!body) co_return error_response(body.error());
  const auto digests = digests_in(*body);
  if (!digests) co_return error_response(digests.error());
  json::array missing;
  std::set<Digest> here;
  for (const Digest& digest : *digests) {
    if (here.contains(digest)) continue;
    if (deps_.blobs->claim(digest)) {
      here.insert(digest);
      continue;
    }
    const auto uploaded = co_await deps_.blobs->uploaded(digest);
    if (!uploaded) co_return error_response(uploaded.error());
    missing.push_back(json::object{{"digest", digest.text()}, {"uploaded", *uploaded}});
  }
  co_return answer({{"missing", std::move(missing)}});
}

asio::awaitable<http::Response> Control::upload(std::string text, http::Request request) {
  const auto digest = Digest::parse(text);
  if (!digest) co_return error_response(digest.error());
  const auto offset = number_in(request.head->query, "offset", 0, std::uint64_t{1} << 48, 0);
  if (!offset) co_return error_response(offset.error());
  const auto last = flag_in(request.head->query, "last");
  if (!last) co_return error_response(last.error());
  const auto chunk = request.body.view();
  if (!chunk) co_return error_response(chunk.error());
  const auto uploaded = co_await deps_.blobs->append(*digest, *offset, *chunk, *last);
  if (!uploaded) co_return error_response(uploaded.error());
  co_return answer({{"uploaded", *uploaded}});
}

asio::awaitable<http::Response> Control::deploy(std::string name, http::Request request) {
  const auto body = co_await body_of(std::move(request));
  if (!body) co_return error_response(body.error());
  auto draft = read_deploy(*body, name);
  if (!draft) co_return error_response(draft.error());
  auto lines = deploys_.begin(std::move(*draft));
  if (!lines) co_return error_response(lines.error());
  co_return stream(std::move(*lines));
}

asio::awaitable<http::Response> Control::list() {
  const ledger::Query everything;
  const auto sums = co_await deps_.ledger->usage(everything);
  if (!sums) co_return error_response(sums.error());
  json::array functions;
  for (const auto& [name, function] : deps_.catalog->all()) {
    const auto revision = deps_.catalog->active(name);
    if (!revision) continue;
    const auto found = std::ranges::find(*sums, name, &ledger::Sum::function);
    const ledger::Sum sum = found == sums->end() ? ledger::Sum{} : *found;
    functions.push_back(summary_json(*revision, deps_.fleet->status(name), sum));
  }
  co_return answer({{"functions", std::move(functions)}});
}

asio::awaitable<http::Response> Control::show(std::string name) {
  if (!deps_.catalog->active(name)) co_return error_response(no_function(name));
  const ledger::Query query{.function = name};
  const auto sums = co_await deps_.ledger->usage(query);
  if (!sums) co_return error_response(sums.error());
  const auto details = co_await deps_.fleet->details(name);
  const auto revision = deps_.catalog->active(name);
  if (!revision) co_return error_response(no_function(name));
  const ledger::Sum sum = sums->empty() ? ledger::Sum{} : sums->front();
  co_return answer({{"function", detail_json(*revision, deps_.fleet->status(name), details, sum)}});
}

asio::awaitable<http::Response> Control::remove(std::string name) {
  // What is tried out for the first time is not there yet, but can be ended.
  if (!deps_.catalog->find(name) && !deploys_.is_changing(name)) {
    co_return error_response(no_function(name));
  }
  const auto removed = co_await deploys_.remove(name);
  if (!removed) co_return error_response(removed.error());
  deps_.logs->remove(name);
  co_return answer({{"removed", name}});
}

asio::awaitable<http::Response> Control::remove_revision(std::string name, std::string text) {
  if (!deps_.catalog->find(name)) co_return error_response(no_function(name));
  std::int32_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size() || number < 1) {
    co_return error_response({Code::invalid_argument, "a revision is a number from 1"});
  }
  const auto removed = co_await deploys_.remove_revision(name, number);
  if (!removed) co_return error_response(removed.error());
  co_return answer({{"removed", name + "@" + std::to_string(number)}});
}

http::Response Control::revisions(const std::string& name) const {
  const catalog::Function* function = deps_.catalog->find(name);
  if (function == nullptr) return error_response(no_function(name));
  json::array all;
  for (auto it = function->revisions.rbegin(); it != function->revisions.rend(); ++it) {
    all.push_back(revision_summary_json(*it->second, it->first == function->active));
  }
  return answer({{"revisions", std::move(all)}});
}

asio::awaitable<http::Response> Control::rollback(std::string name, http::Request request) {
  const auto body = co_await body_of(std::move(request));
  if (!body) co_return error_response(body.error());
  const catalog::Function* function = deps_.catalog->find(name);
  if (function == nullptr) co_return error_response(no_function(name));
  const auto number = wanted_revision(*body, *function);
  if (!number) co_return error_response(number.error());
  const auto revision = co_await deploys_.activate(name, *number);
  if (!revision) co_return error_response(revision.error());
  co_return answer({{"revision", revision_json(**revision)}});
}

// A stream of a function's log: how far it has come.
struct Control::Follower {
  std::string function;
  std::uint64_t after;
  std::uint64_t lines;  // Still to give before following.
  std::string invocation;
  bool follow;
  bool first = true;
};

http::Response Control::logs(const std::string& name, const std::string& query) {
  if (deps_.catalog->find(name) == nullptr) return error_response(no_function(name));
  const auto after = number_in(query, "after", 0, std::uint64_t{1} << 62, 0);
  if (!after) return error_response(after.error());
  constexpr std::uint64_t lines_max = 10'000, lines_usually = 100;
  const auto invocation = invocation_in(query);
  if (!invocation) return error_response(invocation.error());
  const auto lines =
      number_in(query, "lines", 1, lines_max, invocation->empty() ? lines_usually : lines_max);
  if (!lines) return error_response(lines.error());
  const auto follow = flag_in(query, "follow");
  if (!follow) return error_response(follow.error());
  auto follower = std::make_shared<Follower>(Follower{name, *after, *lines, *invocation, *follow});
  return stream([this, follower] { return next_lines(follower); });
}

asio::awaitable<Result<std::optional<std::string>>> Control::next_lines(
    std::shared_ptr<Follower> follower) {
  constexpr std::uint64_t lines_max = 500;  // In one piece.
  constexpr Duration patience = std::chrono::seconds(2);
  constexpr Duration a_moment = std::chrono::milliseconds(50);
  const bool first = std::exchange(follower->first, false);
  if (!first && !follower->follow && follower->lines == 0) co_return std::nullopt;
  // Without `after`, the last `lines` lines are read at once: the log itself is bounded.
  std::uint64_t most = std::min(lines_max, follower->lines);
  if (first && follower->after == 0) most = follower->lines;
  if (!first && follower->follow) most = lines_max;
  const logs::Wanted wanted{follower->after, most, follower->invocation};
  const auto read = co_await deps_.logs->read(follower->function, wanted);
  if (!read) co_return read.error();
  follower->after = read->until;
  std::string text;
  for (const logs::Line& line : read->lines) text += json::serialize(line_json(line)) + "\n";
  if (!read->lines.empty()) {
    follower->lines -= std::min<std::uint64_t>(follower->lines, read->lines.size());
    co_return std::optional<std::string>(std::move(text));
  }
  const bool gone = deps_.catalog->find(follower->function) == nullptr;
  if (!follower->follow || closing_ || gone) co_return std::nullopt;
  co_await deps_.logs->wait(follower->function, follower->after, deps_.clock->now() + patience);
  if (!follower->invocation.empty()) {  // What came may all be of others, and many.
    co_await deps_.clock->sleep_until(deps_.clock->now() + a_moment);
  }
  co_return std::optional<std::string>("\n");
}

asio::awaitable<http::Response> Control::usage(std::string query) {
  const auto since = since_in(query, deps_.clock->wall());
  if (!since) co_return error_response(since.error());
  const std::string by = http::query_value(query, "by").value_or("");
  if (!by.empty() && by != "function") {
    co_return error_response({Code::invalid_argument, "by is \"function\" or left out"});
  }
  ledger::Query asked{*since, http::query_value(query, "function").value_or(""), !by.empty()};
  const auto sums = co_await deps_.ledger->usage(std::move(asked));
  if (!sums) co_return error_response(sums.error());
  json::array all;
  for (const ledger::Sum& sum : *sums) all.push_back(sum_json(sum));
  co_return answer(
      {{"since", time_text(*since)}, {"currency", deps_.node.currency}, {"sums", std::move(all)}});
}

asio::awaitable<http::Response> Control::invocation(std::string text) {
  constexpr std::uint32_t attempts_max = 100;
  const auto id = InvocationId::parse(text);
  if (!id) co_return error_response(id.error());
  json::array receipts;
  for (std::uint32_t attempt = 1; attempt <= attempts_max; ++attempt) {
    const ledger::Key key{*id, attempt};
    const auto receipt = co_await deps_.ledger->find(key);
    if (!receipt) co_return error_response(receipt.error());
    if (!*receipt) break;
    receipts.push_back(receipt_json(**receipt, deps_.node.currency));
  }
  if (receipts.empty()) {
    co_return error_response(
        {Code::not_found, "there is no receipt of " + id->text() +
                              " (yet, or any more): a call that was refused before it began has "
                              "none"});
  }
  co_return answer({{"invocation", id->text()}, {"receipts", std::move(receipts)}});
}

http::Response Control::conversations(const std::string& function) const {
  const auto revision = deps_.catalog->active(function);
  if (!revision) return error_response(no_function(function));
  auto kept = deps_.conversations->of(revision->tenant, function);
  std::ranges::sort(kept, std::greater(), &conversations::Entry::turn);
  json::array all;
  for (const conversations::Entry& each : kept) all.push_back(conversation_json(each));
  return answer({{"conversations", std::move(all)}});
}

http::Response Control::forget_conversations(const std::string& function, std::string_view query) {
  const auto revision = deps_.catalog->active(function);
  if (!revision) return error_response(no_function(function));
  const auto id = http::query_value(query, "id");
  if (!id) {
    deps_.conversations->drop_function(revision->tenant, function);
    return answer({{"removed", function}});
  }
  if (deps_.conversations->drop(revision->tenant, function, *id)) return answer({{"removed", *id}});
  return error_response({Code::not_found, "nothing is kept of such a conversation"});
}

http::Response Control::secrets() const {
  json::array all;
  for (const secrets::Fact& fact : deps_.secrets->list()) {
    all.push_back(secret_json(fact, secret_changes_.users(fact.name)));
  }
  return answer({{"secrets", std::move(all)}});
}

asio::awaitable<http::Response> Control::set_secret(std::string name, http::Request request) {
  const auto value = request.body.view();
  if (!value) co_return error_response(value.error());
  const auto fact = co_await secret_changes_.set(std::move(name), std::string(*value));
  if (!fact) co_return error_response(fact.error());
  co_return answer({{"secret", secret_json(*fact, secret_changes_.users(fact->name))}});
}

asio::awaitable<http::Response> Control::remove_secret(std::string name) {
  const auto removed = co_await secret_changes_.remove(name);
  if (!removed) co_return error_response(removed.error());
  co_return answer({{"removed", name}});
}

asio::awaitable<void> Control::stop() {
  closing_ = true;
  co_await secret_changes_.stop();
  co_await deploys_.stop();
  co_await garbage_.stop();
}

}  // namespace dormouse::control
