#include "control/lambda_control.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "gateway/lambda.h"
#include "gateway/sigv4.h"
#include "hash/sha256.h"

namespace dormouse::control {
namespace {

using gateway::LambdaFault;

LambdaFault unknown_operation(const http::Head& head) {
  return {404, "UnknownOperationException",
          head.method + " " + head.path.substr(0, 200) +
              ": this operation of AWS Lambda's is not to be had here"};
}

// What a deploy fails with is what the caller sent: to send it again does not help.
LambdaFault fault_of(const Error& error) {
  const bool is_code = error.code == Code::function_failed ||
                       error.code == Code::deadline_exceeded || error.code == Code::unsupported;
  if (is_code) return {400, "InvalidParameterValueException", error.message};
  if (error.code == Code::overloaded) {
    return {429, "TooManyRequestsException", error.message, {}, std::chrono::seconds(1)};
  }
  return gateway::lambda_fault(error);
}

Error no_function(const std::string& name) {
  return {Code::not_found, "Function not found: " + name.substr(0, 200)};
}

// What a link stands for has the very bytes of another file, and is hashed once.
std::vector<catalog::File> files_of(const Unpacked& unpacked) {
  std::map<std::pair<const char*, std::size_t>, Digest> known;
  std::vector<catalog::File> files;
  for (const Unpacked::File& file : unpacked.files()) {
    const std::pair where{file.content.data(), file.content.size()};
    auto at = known.find(where);
    if (at == known.end()) at = known.emplace(where, blobs::digest_of(file.content)).first;
    files.push_back({file.path, at->second, file.content.size()});
  }
  return files;
}

std::string sha256_base64(std::string_view bytes) {
  return gateway::base64(hash::as_text(hash::sha256(bytes)));
}

// A page: at most MaxItems, from behind Marker on.
struct Page {
  std::size_t items_max = 50;
  std::string after;
};
Result<Page> page_of(std::string_view query) {
  constexpr std::size_t items_max = 10'000;
  Page page{.after = http::query_value(query, "Marker").value_or("")};
  const auto text = http::query_value(query, "MaxItems");
  if (!text) return page;
  const auto [end, failure] =
      std::from_chars(text->data(), text->data() + text->size(), page.items_max);
  const bool whole = failure == std::errc() && end == text->data() + text->size();
  if (whole && page.items_max >= 1 && page.items_max <= items_max) return page;
  return Error{Code::invalid_argument, "MaxItems: not a whole number from 1 to 10000"};
}

}  // namespace

struct LambdaControl::Asked {
  LambdaOperation operation;
  gateway::LambdaName function;
  std::string region;
  std::string query;
  std::shared_ptr<const http::Body> body;
};

// The code of a function, out of its zip.
struct LambdaControl::Contents {
  ZipFacts facts;
  std::optional<Unpacked> unpacked;
  std::vector<catalog::File> files;
  std::shared_ptr<const void> place;  // Among those that may be held at the same time.
};

LambdaControl::LambdaControl(LambdaDeps deps) : deps_(std::move(deps)) {
}

http::Admission LambdaControl::admit(const http::Head& head, bool loopback) {
  if (auto good = gateway::check_origin(head.fields, deps_.hosts); !good) {
    return gateway::lambda_response({403, "AccessDeniedException", good.error().message});
  }
  if (deps_.keys->empty() && !loopback) {
    return gateway::lambda_response(
        {403, "AccessDeniedException", "without a key file, only this machine is served"});
  }
  if (deps_.keys->empty() && !head.fields.find("Authorization")) {
    return gateway::lambda_response(
        {403, "MissingAuthenticationTokenException",
         "Missing Authentication Token: without a key file any signature will do, but one there "
         "must be"});
  }
  const LambdaMatch found = match_lambda(head.method, head.path);
  if (found.row == nullptr) return gateway::lambda_response(unknown_operation(head));
  if (head.content_length.value_or(0) > found.row->body_bytes_max) {
    return gateway::lambda_response(
        {413, "RequestTooLargeException",
         "Request must be smaller than " + std::to_string(found.row->body_bytes_max) + " bytes"});
  }
  return http::Receiving{found.row->body_bytes_max};
}

asio::awaitable<http::Response> LambdaControl::handle(http::Request request) {
  const LambdaMatch found = match_lambda(request.head->method, request.head->path);
  CHECK(found.row != nullptr);  // admit() let it in.
  Asked asked{.operation = found.row->operation,
              .function = {},
              .region = gateway::signed_region(*request.head),
              .query = request.head->query,
              .body = std::make_shared<const http::Body>(std::move(request.body))};
  if (asked.region.empty()) asked.region = "us-east-1";
  if (!found.name.empty()) {
    auto named = gateway::read_lambda_name(found.name, request.head->query);
    if (!named) co_return gateway::lambda_response(fault_of(named.error()));
    asked.function = *std::move(named);
  }
  auto working = dispatch(std::move(asked));
  const Answer answer = co_await std::move(working);
  if (!answer) co_return gateway::lambda_response(fault_of(answer.error()));
  http::Response response;
  response.status = found.row->status;
  response.fields.add("Content-Type", "application/json");
  if (response.status != 204) response.body = http::Body(json::serialize(*answer) + "\n");
  co_return response;
}

asio::awaitable<LambdaControl::Answer> LambdaControl::dispatch(Asked asked) {
  switch (asked.operation) {
    case LambdaOperation::list: co_return list(asked);
    case LambdaOperation::versions: co_return versions(asked);
    case LambdaOperation::get: co_return get(asked);
    case LambdaOperation::configuration: co_return configuration(asked);
    case LambdaOperation::list_tags: co_return tags(asked);
    case LambdaOperation::create: co_return co_await create(std::move(asked));
    case LambdaOperation::remove: co_return co_await remove(std::move(asked));
    case LambdaOperation::update_configuration:
      co_return co_await update_configuration(std::move(asked));
    case LambdaOperation::update_code: co_return co_await update_code(std::move(asked));
    case LambdaOperation::publish: co_return co_await publish(std::move(asked));
    case LambdaOperation::tag:
    case LambdaOperation::untag: co_return co_await change_tags(std::move(asked));
  }
  CHECK_UNREACHABLE("every LambdaOperation is carried out");
}

// ---- what is there ----

Result<catalog::RevisionPtr> LambdaControl::qualified(const Asked& asked,
                                                      std::string* version) const {
  const auto& [name, qualifier] = asked.function;
  const auto active = deps_.catalog->active(name);
  if (!active) return no_function(name);
  *version = qualifier.empty() ? "$LATEST" : qualifier;
  if (*version == "$LATEST") return active;
  if (auto one = catalog::find_revision(*deps_.catalog, name, qualifier)) return one;
  return no_function(name + ":" + qualifier);
}

LambdaControl::Answer LambdaControl::configuration(const Asked& asked) const {
  std::string version;
  const auto revision = qualified(asked, &version);
  if (!revision) return revision.error();
  const bool changing = deps_.deploys->is_changing(asked.function.name);
  return lambda_configuration(**revision,
                              {.version = version, .region = asked.region, .changing = changing});
}

LambdaControl::Answer LambdaControl::get(const Asked& asked) const {
  auto shown = configuration(asked);
  if (!shown) return shown;
  std::string version;
  const auto revision = qualified(asked, &version);
  json::object whole{{"Configuration", *std::move(shown)},
                     {"Code", {{"RepositoryType", "dormouse"}}}};
  auto tags = lambda_tags((*revision)->manifest);
  if (!tags.empty()) whole["Tags"] = std::move(tags);
  return whole;
}

// Of the active revision: a version has no tags of its own, as on Lambda.
Result<catalog::RevisionPtr> LambdaControl::tagged(const Asked& asked) const {
  const auto& [name, qualifier] = asked.function;
  if (!qualifier.empty()) {
    return Error{Code::invalid_argument, "Resource: a version has no tags of its own: leave \":" +
                                             qualifier.substr(0, 200) + "\" out"};
  }
  auto active = deps_.catalog->active(name);
  if (!active) return no_function(name);
  return active;
}

LambdaControl::Answer LambdaControl::tags(const Asked& asked) const {
  const auto revision = tagged(asked);
  if (!revision) return revision.error();
  return json::object{{"Tags", lambda_tags((*revision)->manifest)}};
}

LambdaControl::Answer LambdaControl::list(const Asked& asked) const {
  const auto page = page_of(asked.query);
  if (!page) return page.error();
  if (http::query_value(asked.query, "FunctionVersion")) {
    return Error{Code::invalid_argument,
                 "FunctionVersion is not to be had here; ask for the versions of one function"};
  }
  if (http::query_value(asked.query, "MasterRegion")) {
    return Error{Code::invalid_argument,
                 "MasterRegion is not to be had here; no function is another region's copy"};
  }
  json::array shown;
  const auto& all = deps_.catalog->all();
  auto at = page->after.empty() ? all.begin() : all.upper_bound(page->after);
  std::string last;
  for (; at != all.end() && shown.size() < page->items_max; ++at) {
    const auto active = deps_.catalog->active(at->first);
    if (!active) continue;
    shown.push_back(lambda_configuration(*active, {.version = "$LATEST", .region = asked.region}));
    last = at->first;
  }
  json::object answer{{"Functions", std::move(shown)}};
  if (at != all.end()) answer["NextMarker"] = last;
  return answer;
}

// $LATEST first, as AWS has it, and then every revision, the oldest first.
LambdaControl::Answer LambdaControl::versions(const Asked& asked) const {
  const auto page = page_of(asked.query);
  if (!page) return page.error();
  const auto* function = deps_.catalog->find(asked.function.name);
  const auto active = deps_.catalog->active(asked.function.name);
  if (function == nullptr || !active) return no_function(asked.function.name);
  json::array shown;
  if (page->after.empty()) {
    shown.push_back(lambda_configuration(*active, {.version = "$LATEST", .region = asked.region}));
  }
  json::object answer;
  std::string last = page->after;
  for (const auto& [number, revision] : function->revisions) {
    const std::string version = std::to_string(number);
    if (!page->after.empty() && number <= std::atoi(page->after.c_str())) continue;
    if (shown.size() >= page->items_max) {
      answer["NextMarker"] = last.empty() ? "0" : last;
      break;
    }
    shown.push_back(lambda_configuration(*revision, {.version = version, .region = asked.region}));
    last = version;
  }
  answer["Versions"] = std::move(shown);
  return answer;
}

// ---- what changes it ----

// A body of many MiB goes as soon as it was read.
asio::awaitable<Result<json::value>> LambdaControl::body_of(
    std::shared_ptr<const http::Body> body) {
  const auto text = body->view();
  if (!text) co_return text.error();
  if (text->empty()) co_return json::value(json::object());
  auto parse = [view = *text] { return gateway::parse_json(view); };
  auto parsing = aside_.run(std::move(parse));
  co_return co_await std::move(parsing);
}

asio::awaitable<Result<LambdaControl::Contents>> LambdaControl::unpack(std::string base64) {
  if (unpacking_ >= unpacking_max) {
    co_return Error{Code::overloaded, "too many zips at the same time"};
  }
  ++unpacking_;
  const std::shared_ptr<int> place(&unpacking_, [](int* number) { --*number; });
  auto work = [this, text = std::move(base64)]() mutable -> Result<Contents> {
    const auto zip = gateway::from_base64(text);
    if (!zip) return Error(zip.error()).during("ZipFile");
    text = std::string();
    Contents code{.facts = {sha256_base64(*zip), zip->size()}, .unpacked = {}, .files = {}};
    const auto held = http::Body::in_memfd(*zip);
    if (!held) return held.error();
    auto unpacked = deps_.unpack(held->memfd());
    if (!unpacked) return std::move(unpacked).error();
    code.files = files_of(*unpacked);
    code.unpacked = *std::move(unpacked);
    if (auto good = check_tree(code.files); !good) return std::move(good).error().during("the zip");
    return code;
  };
  auto working = aside_.run(std::move(work));
  auto unpacked = co_await std::move(working);
  if (unpacked) unpacked->place = place;
  co_return unpacked;
}

asio::awaitable<Result<std::vector<catalog::File>>> LambdaControl::store(
    std::shared_ptr<const Contents> code) {
  for (std::size_t i = 0; i < code->files.size(); ++i) {
    const catalog::File& file = code->files[i];
    if (deps_.blobs->claim(file.digest)) continue;
    // Somebody may have begun to upload the same.
    const auto from = co_await deps_.blobs->uploaded(file.digest);
    if (!from) co_return from.error();
    const std::string_view rest =
        code->unpacked->files()[i].content.substr(std::min(*from, file.size));
    auto storing = deps_.blobs->append(file.digest, *from, rest, true);
    const auto stored = co_await std::move(storing);
    if (!stored) co_return stored.error();
  }
  co_return code->files;
}

asio::awaitable<LambdaControl::Answer> LambdaControl::deploy(Asked asked, LambdaChange change,
                                                             std::vector<catalog::File> files) {
  catalog::Draft draft;
  draft.manifest = std::move(change.manifest);
  draft.files = std::move(files);
  auto deploying = deps_.deploys->finish(std::move(draft));
  const auto revision = co_await std::move(deploying);
  if (!revision) co_return revision.error();
  const std::string version = change.publish ? std::to_string((*revision)->number) : "$LATEST";
  co_return lambda_configuration(**revision, {.version = version, .region = asked.region});
}

asio::awaitable<LambdaControl::Answer> LambdaControl::create(Asked asked) {
  auto reading = body_of(std::exchange(asked.body, nullptr));
  auto body = co_await std::move(reading);
  if (!body) co_return body.error();
  auto change = read_create_function(*body, deps_.network);
  if (!change) co_return change.error();
  body = json::value();
  const Error exists{Code::conflict, "Function already exist: " + change->name};
  if (deps_.catalog->active(change->name)) co_return exists;
  auto unpacking = unpack(*std::exchange(change->zip, std::nullopt));
  auto code = co_await std::move(unpacking);
  if (!code) co_return code.error();
  note_zip(change->manifest, code->facts);
  auto storing = store(std::make_shared<const Contents>(*std::move(code)));
  auto files = co_await std::move(storing);
  if (!files) co_return files.error();
  if (deps_.catalog->active(change->name)) co_return exists;
  auto deploying = deploy(std::move(asked), *std::move(change), *std::move(files));
  co_return co_await std::move(deploying);
}

namespace {

// Another change came between what the caller saw and this.
Result<> check_revision_id(const std::string& wanted, const catalog::Revision& revision) {
  if (wanted.empty() || wanted == lambda_revision_id(revision)) return ok;
  return Error{Code::conflict, "RevisionId: the function is at " + lambda_revision_id(revision)};
}

}  // namespace

asio::awaitable<LambdaControl::Answer> LambdaControl::update_code(Asked asked) {
  auto reading = body_of(std::exchange(asked.body, nullptr));
  auto body = co_await std::move(reading);
  if (!body) co_return body.error();
  auto before = deps_.catalog->active(asked.function.name);
  if (!before) co_return no_function(asked.function.name);
  auto change = read_update_code(*body, before->manifest);
  if (!change) co_return change.error();
  body = json::value();
  auto unpacking = unpack(*std::exchange(change->zip, std::nullopt));
  auto code = co_await std::move(unpacking);
  if (!code) co_return code.error();
  const ZipFacts facts = code->facts;
  if (change->dry_run) {
    co_return lambda_configuration(*before, {.version = "$LATEST", .region = asked.region});
  }
  auto storing = store(std::make_shared<const Contents>(*std::move(code)));
  auto files = co_await std::move(storing);
  if (!files) co_return files.error();
  // What else was changed meanwhile stays changed.
  before = deps_.catalog->active(asked.function.name);
  if (!before) co_return no_function(asked.function.name);
  if (auto same = check_revision_id(change->revision_id, *before); !same) co_return same.error();
  change->manifest = before->manifest;
  note_zip(change->manifest, facts);
  auto deploying = deploy(std::move(asked), *std::move(change), *std::move(files));
  co_return co_await std::move(deploying);
}

asio::awaitable<LambdaControl::Answer> LambdaControl::update_configuration(Asked asked) {
  auto reading = body_of(std::exchange(asked.body, nullptr));
  const auto body = co_await std::move(reading);
  if (!body) co_return body.error();
  const auto before = deps_.catalog->active(asked.function.name);
  if (!before) co_return no_function(asked.function.name);
  auto change = read_update_configuration(*body, before->manifest);
  if (!change) co_return change.error();
  if (auto same = check_revision_id(change->revision_id, *before); !same) co_return same.error();
  auto deploying = deploy(std::move(asked), *std::move(change), before->files);
  co_return co_await std::move(deploying);
}

asio::awaitable<LambdaControl::Answer> LambdaControl::change_tags(Asked asked) {
  auto reading = body_of(std::exchange(asked.body, nullptr));
  const auto body = co_await std::move(reading);
  if (!body) co_return body.error();
  const auto before = tagged(asked);
  if (!before) co_return before.error();
  const catalog::Manifest& manifest = (*before)->manifest;
  auto change = asked.operation == LambdaOperation::tag
                    ? read_tag_resource(*body, manifest)
                    : read_untag_resource(http::query_values(asked.query, "tagKeys"), manifest,
                                          deps_.network);
  if (!change) co_return change.error();
  auto deploying = deploy(std::move(asked), *std::move(change), (*before)->files);
  co_return co_await std::move(deploying);
}

// Every deploy is a version already: to publish it is to say which.
asio::awaitable<LambdaControl::Answer> LambdaControl::publish(Asked asked) {
  auto reading = body_of(std::exchange(asked.body, nullptr));
  const auto body = co_await std::move(reading);
  if (!body) co_return body.error();
  const auto active = deps_.catalog->active(asked.function.name);
  if (!active) co_return no_function(asked.function.name);
  if (auto good = check_publish(*body, *active); !good) co_return good.error();
  const std::string version = std::to_string(active->number);
  co_return lambda_configuration(*active, {.version = version, .region = asked.region});
}

asio::awaitable<LambdaControl::Answer> LambdaControl::remove_version(Asked asked) {
  std::string version;
  const auto revision = qualified(asked, &version);
  if (!revision) co_return revision.error();
  if (version == "$LATEST") {
    co_return Error{Code::invalid_argument,
                    "Qualifier: $LATEST cannot be removed without its function; leave it out"};
  }
  auto removing = deps_.deploys->remove_revision(asked.function.name, (*revision)->number);
  const auto removed = co_await std::move(removing);
  if (!removed) co_return removed.error();
  co_return json::object();
}

asio::awaitable<LambdaControl::Answer> LambdaControl::remove(Asked asked) {
  const auto& [name, qualifier] = asked.function;
  if (!qualifier.empty()) {
    auto removing_version = remove_version(std::move(asked));
    co_return co_await std::move(removing_version);
  }
  if (deps_.catalog->find(name) == nullptr) co_return no_function(name);
  auto removing = deps_.deploys->remove(name);
  const auto removed = co_await std::move(removing);
  if (!removed) co_return removed.error();
  deps_.logs->remove(name);
  co_return json::object();
}

}  // namespace dormouse::control
