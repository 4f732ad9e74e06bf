// For tests: a platform in memory, behind the seams that the control API stands on.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "conversations/conversations.h"
#include "fleet/fleet.h"
#include "ledger/ledger.h"
#include "logs/logs.h"
#include "secrets/secrets.h"

namespace dormouse::control {

class FakeBlobs final : public blobs::Blobs {
 public:
  std::optional<std::uint64_t> size(const Digest& digest) const override {
    const auto found = whole.find(digest);
    if (found == whole.end()) return std::nullopt;
    return found->second.size();
  }
  std::filesystem::path path(const Digest& digest) const override { return digest.text(); }
  std::optional<std::uint64_t> claim(const Digest& digest) override {
    if (whole.contains(digest)) ++claims[digest];
    return size(digest);
  }
  void settle(const std::set<Digest>& digests, std::uint32_t least) override {
    for (const Digest& digest : digests) {
      if (claims[digest] > least) --claims[digest];
    }
  }
  asio::awaitable<Result<std::uint64_t>> uploaded(Digest digest) override {
    co_return parts[digest].size();
  }
  asio::awaitable<Result<std::uint64_t>> append(Digest digest, std::uint64_t offset,
                                                std::string_view chunk, bool last) override {
    if (whole.contains(digest)) co_return whole[digest].size();
    std::string& part = parts[digest];
    if (offset != part.size()) {
      co_return Error{Code::conflict, "the upload stands at " + std::to_string(part.size())};
    }
    part += chunk;
    ++appends;
    if (last && right && part != *right) {
      part.clear();
      co_return Error{Code::invalid_argument, "the bytes are not those of " + digest.text()};
    }
    if (last) {
      whole[digest] = std::exchange(part, {});
      claim(digest);
    }
    co_return last ? whole[digest].size() : part.size();
  }
  asio::awaitable<Result<Digest>> adopt(std::filesystem::path, std::uint64_t) override {
    co_return Error{Code::unsupported, "not in this fake"};
  }
  asio::awaitable<Result<std::filesystem::path>> lay_out(
      std::string name, std::vector<std::pair<std::string, Digest>>) override {
    co_return std::filesystem::path(name);
  }
  asio::awaitable<Result<std::uint64_t>> collect(std::set<Digest>, std::set<std::string>,
                                                 Duration) override {
    ++collections;
    co_return std::uint64_t{0};
  }
  asio::awaitable<Result<std::uint64_t>> discard(std::set<Digest> digests,
                                                 std::set<std::string> trees) override {
    for (const Digest& digest : digests) {
      if (claims[digest] == 0) whole.erase(digest);
    }
    discarded_trees.insert(trees.begin(), trees.end());
    co_return std::uint64_t{0};
  }

  std::map<Digest, std::string> whole;
  std::map<Digest, std::uint32_t> claims;
  std::set<std::string> discarded_trees;
  int collections = 0;
  std::map<Digest, std::string> parts;
  int appends = 0;
  std::optional<std::string> right;  // Other bytes are not those of any digest.
};

class FakeCatalog final : public catalog::Catalog {
 public:
  catalog::RevisionPtr active(std::string_view name) const override {
    const auto* function = find(name);
    return function == nullptr ? nullptr : function->revisions.at(function->active);
  }
  const catalog::Function* find(std::string_view name) const override {
    const auto found = functions.find(name);
    return found == functions.end() ? nullptr : &found->second;
  }
  const std::map<std::string, catalog::Function, std::less<>>& all() const override {
    return functions;
  }
  std::set<Digest> live_blobs() const override {
    std::set<Digest> live;
    for (const auto& [name, function] : functions) {
      for (const auto& [number, revision] : function.revisions) {
        for (const catalog::File& file : revision->files) live.insert(file.digest);
      }
    }
    return live;
  }
  asio::awaitable<Result<catalog::RevisionPtr>> publish(catalog::Draft draft,
                                                        WallTime now) override {
    if (refuses) co_return *refuses;
    catalog::Function& function = functions[draft.manifest.name];
    function.name = draft.manifest.name;
    const Digest digest = catalog::digest_of(draft);
    const auto number = function.revisions.empty() ? 1 : function.revisions.rbegin()->first + 1;
    auto revision = std::make_shared<catalog::Revision>(catalog::Revision{
        std::move(draft), std::string(catalog::default_tenant), number, digest, now});
    function.revisions.emplace(number, revision);
    function.make_active(number);
    co_return revision;
  }
  asio::awaitable<Result<catalog::RevisionPtr>> activate(std::string name,
                                                         std::int32_t number) override {
    const auto found = functions.find(name);
    if (found == functions.end()) co_return Error{Code::not_found, "no such function"};
    if (!found->second.revisions.contains(number)) {
      co_return Error{Code::not_found, name + " has no revision " + std::to_string(number)};
    }
    found->second.make_active(number);
    co_return found->second.revisions.at(number);
  }
  asio::awaitable<Result<>> remove(std::string name) override {
    if (functions.erase(name) == 0) co_return Error{Code::not_found, "no such function"};
    co_return ok;
  }
  asio::awaitable<Result<>> remove_revision(std::string name, std::int32_t number) override {
    functions.at(name).take_out(number);
    co_return ok;
  }

  std::map<std::string, catalog::Function, std::less<>> functions;
  std::optional<Error> refuses;  // What publish() fails with.
};

class FakeConversations final : public conversations::Conversations {
 public:
  asio::awaitable<std::optional<conversations::State>> find(conversations::Key) override {
    co_return std::nullopt;
  }
  void keep(conversations::Key key, std::shared_ptr<const wire::Descriptor>,
            std::uint64_t size) override {
    shelf.put(key, size, {1'700'000'000'000});
  }
  std::uint64_t size_max() const override { return 1'000; }
  std::vector<conversations::Entry> of(std::string_view tenant,
                                       std::string_view function) const override {
    return shelf.of(tenant, function);
  }
  bool drop(std::string_view tenant, std::string_view function, std::string_view name) override {
    bool any = false;
    for (const auto& each : shelf.of(tenant, function)) {
      if (each.key.name == name) any = shelf.erase(each.key);
    }
    return any;
  }
  void drop_function(std::string_view tenant, std::string_view function) override {
    for (const conversations::Entry& each : of(tenant, function)) shelf.erase(each.key);
  }
  void retain(const std::set<conversations::Revision>&) override {}
  asio::awaitable<void> close() override { co_return; }

  conversations::Shelf shelf{1'000, 10};
};

class FakeSecrets final : public secrets::Secrets {
 public:
  std::vector<secrets::Fact> list() const override {
    std::vector<secrets::Fact> all;
    for (const auto& [name, each] : known) all.push_back(each.first);
    return all;
  }
  bool contains(std::string_view name) const override { return known.contains(name); }
  Result<std::string> read(std::string_view name) const override {
    const auto found = known.find(name);
    if (found == known.end()) return Error{Code::not_found, "no such secret"};
    return found->second.second;
  }
  asio::awaitable<Result<secrets::Fact>> set(std::string name, std::string value,
                                             WallTime now) override {
    auto& [fact, held] = known[name];
    fact = {name, fact.version + 1, now};
    held = std::move(value);
    co_return fact;
  }
  asio::awaitable<Result<>> remove(std::string name) override {
    if (known.erase(name) == 0) co_return Error{Code::not_found, "no such secret"};
    co_return ok;
  }

  std::map<std::string, std::pair<secrets::Fact, std::string>, std::less<>> known;
};

class FakeFleet final : public fleet::Fleet {
 public:
  explicit FakeFleet(async::Clock* clock) : clock_(clock) { known["onnx"] = {}; }

  asio::awaitable<fleet::Outcome> invoke(fleet::Invocation) override {
    co_return fleet::Outcome{Error{Code::unsupported, "not in this fake"}, nullptr, {}};
  }
  asio::awaitable<Result<catalog::Draft>> try_out(catalog::Draft draft,
                                                  fleet::Witness witness) override {
    ++tried;
    witness.progress("loading");
    for (const std::string& line : prints) witness.printed(line);
    co_await clock_->sleep_until(clock_->now() + start_takes);
    if (start_fails) co_return *start_fails;
    draft.notes["form"] = "mapped";
    if (!template_note.empty()) draft.notes["template"] = template_note;
    if (!memory_note.empty()) draft.notes["memory"] = memory_note;
    co_return draft;
  }
  void serve(const std::string& function, catalog::RevisionPtr revision) override {
    serving[function] = std::move(revision);
    ++served[function];
  }
  void retire(const std::string& function, std::int32_t number) override {
    retired.emplace_back(function, number);
  }
  catalog::RevisionPtr serves(const std::string& function) const override {
    const auto found = serving.find(function);
    return found == serving.end() ? nullptr : found->second;
  }
  fleet::Status status(const std::string&) const override { return now; }
  asio::awaitable<fleet::Details> details(std::string) const override { co_return more; }
  fleet::Snapshot snapshot() override { return {}; }
  const std::map<std::string, fleet::Runtime>& runtimes() const override { return known; }
  void end_calls() override {}
  asio::awaitable<void> drain(Duration) override { co_return; }

  std::map<std::string, fleet::Runtime> known;
  std::map<std::string, catalog::RevisionPtr> serving;
  std::map<std::string, int> served;  // How often serve() was called for it.
  std::vector<std::pair<std::string, std::int32_t>> retired;
  fleet::Status now;
  std::vector<std::string> prints;  // As it starts.
  fleet::Details more;
  Duration start_takes{};
  std::string template_note;
  std::string memory_note;
  std::optional<Error> start_fails;
  int tried = 0;

 private:
  async::Clock* clock_;
};

class FakeLedger final : public ledger::Ledger {
 public:
  void begin(const ledger::Begun&) override {}
  void end(const ledger::Receipt& receipt) override { receipts[receipt.begun.key] = receipt; }
  Result<> flush() override { return ok; }
  bool needs_flush() const override { return false; }
  asio::awaitable<Result<std::optional<ledger::Receipt>>> find(ledger::Key key) override {
    const auto found = receipts.find(key);
    if (found == receipts.end()) co_return std::optional<ledger::Receipt>();
    co_return std::optional<ledger::Receipt>(found->second);
  }
  asio::awaitable<Result<std::vector<ledger::Sum>>> usage(ledger::Query query) override {
    asked = query;
    std::vector<ledger::Sum> sums;
    ledger::Sum all;
    for (const auto& [key, receipt] : receipts) {
      const std::string& name = receipt.begun.function;
      if (!query.function.empty() && query.function != name) continue;
      auto sum = std::ranges::find(sums, name, &ledger::Sum::function);
      if (sum == sums.end()) sum = sums.insert(sums.end(), ledger::Sum{.function = name});
      for (ledger::Sum* each : {&*sum, &all}) {
        each->calls += 1;
        each->failed += receipt.failure ? 1 : 0;
        each->billed_ms += receipt.billed_ms;
        each->price.value += receipt.price.value;
      }
    }
    if (!query.by_function) sums = {all};
    co_return sums;
  }
  asio::awaitable<Result<>> close() override { co_return ok; }

  std::map<ledger::Key, ledger::Receipt> receipts;
  ledger::Query asked;
};

class FakeLogs final : public logs::Logs {
 public:
  explicit FakeLogs(async::Clock* clock) : clock_(clock) {}

  void append(std::string_view function, logs::Line line) override {
    line.sequence = last(function) + 1;
    lines[std::string(function)].push_back(std::move(line));
  }
  asio::awaitable<Result<logs::Part>> read(std::string function, logs::Wanted wanted) override {
    logs::Part part{.lines = {}, .until = last(function)};
    for (const logs::Line& line : lines[function]) {
      const bool is_its = wanted.invocation.empty() || line.invocation == wanted.invocation;
      if (line.sequence > wanted.after && is_its) part.lines.push_back(line);
    }
    const std::size_t count = part.lines.size();
    if (count <= wanted.lines_max) co_return part;
    const auto beyond = static_cast<std::ptrdiff_t>(count - wanted.lines_max);
    if (wanted.after == 0) {
      part.lines.erase(part.lines.begin(), part.lines.begin() + beyond);
    } else {
      part.lines.erase(part.lines.end() - beyond, part.lines.end());
      part.until = part.lines.back().sequence;
    }
    co_return part;
  }
  std::uint64_t last(std::string_view function) const override {
    const auto found = lines.find(std::string(function));
    return found == lines.end() ? 0 : found->second.size();
  }
  asio::awaitable<void> wait(std::string function, std::uint64_t sequence,
                             TimePoint until) override {
    while (last(function) <= sequence && clock_->now() < until) {
      const TimePoint soon = clock_->now() + std::chrono::milliseconds(10);
      co_await clock_->sleep_until(std::min(soon, until));
    }
  }
  void remove(std::string_view function) override { lines.erase(std::string(function)); }

  std::map<std::string, std::vector<logs::Line>> lines;

 private:
  async::Clock* clock_;
};

}  // namespace dormouse::control
