#include "catalog/catalog.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "catalog/encoding.h"
#include "catalog/validate.h"

namespace dormouse::catalog {
namespace {

// A removed function keeps its row, with active = 0, so that its numbers are never used twice.
constexpr store::Migration steps[] = {
    {"catalog",
     "CREATE TABLE functions ("
     "  tenant TEXT NOT NULL, name TEXT NOT NULL, active INTEGER NOT NULL,"
     "  last_number INTEGER NOT NULL, PRIMARY KEY (tenant, name)) STRICT, WITHOUT ROWID;"
     "CREATE TABLE revisions ("
     "  tenant TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL,"
     "  created_ms INTEGER NOT NULL, draft TEXT NOT NULL,"
     "  PRIMARY KEY (tenant, name, number),"
     "  FOREIGN KEY (tenant, name) REFERENCES functions (tenant, name)) STRICT;"},
    // What served before a revision; of those from before this was kept, the one before it.
    {"catalog",
     "ALTER TABLE revisions ADD COLUMN came_after INTEGER NOT NULL DEFAULT 0;"
     "UPDATE revisions SET came_after = coalesce((SELECT max(older.number) FROM revisions AS older"
     "  WHERE older.tenant = revisions.tenant AND older.name = revisions.name"
     "  AND older.number < revisions.number), 0);"}};

using Numbers = std::pair<std::int64_t, std::int64_t>;  // active, last_number

Result<std::optional<Numbers>> numbers_of(store::Transaction& t, const std::string& tenant,
                                          const std::string& name) {
  auto rows = t.run("SELECT active, last_number FROM functions WHERE tenant = ? AND name = ?",
                    {tenant, name});
  if (!rows) return rows.error();
  if (rows->empty()) return std::optional<Numbers>();
  const store::Row& row = rows->front();
  return std::optional<Numbers>({std::get<std::int64_t>(row[0]), std::get<std::int64_t>(row[1])});
}

Result<> set_active(store::Transaction& t, const std::string& tenant, const std::string& name,
                    std::int64_t active, std::int64_t last_number) {
  auto set = t.run(
      "INSERT INTO functions VALUES (?, ?, ?, ?) ON CONFLICT (tenant, name) DO UPDATE SET"
      " active = excluded.active, last_number = excluded.last_number",
      {tenant, name, active, last_number});
  if (!set) return set.error();
  return ok;
}

// Whether it was published meanwhile as the active one.
Result<bool> is_revision(store::Transaction& t, const Revision& r, const std::string& draft,
                         std::int64_t number) {
  auto rows = t.run(
      "SELECT 1 FROM revisions WHERE tenant = ? AND name = ? AND number = ? AND digest = ? "
      "AND draft = ?",
      {r.tenant, r.manifest.name, number, r.digest.text(), draft});
  if (!rows) return rows.error();
  return !rows->empty();
}

Result<> insert(store::Transaction& t, const Revision& r, const std::string& draft,
                std::int64_t before) {
  auto inserted = t.run("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?)",
                        {r.tenant, r.manifest.name, std::int64_t{r.number}, r.digest.text(),
                         r.created.unix_ms, draft, before});
  if (!inserted) return inserted.error();
  return ok;
}

Result<> set_before(store::Transaction& t, const std::string& tenant, const std::string& name,
                    std::int64_t number, std::int64_t before) {
  auto set =
      t.run("UPDATE revisions SET came_after = ? WHERE tenant = ? AND name = ? AND number = ?",
            {before, tenant, name, number});
  if (!set) return set.error();
  return ok;
}

// Those that came after it come after what it came after.
Result<> delete_revision(store::Transaction& t, const std::string& tenant, const std::string& name,
                         std::int64_t number) {
  auto linked = t.run(
      "UPDATE revisions SET came_after = (SELECT gone.came_after FROM revisions AS gone"
      " WHERE gone.tenant = ?1 AND gone.name = ?2 AND gone.number = ?3)"
      " WHERE tenant = ?1 AND name = ?2 AND came_after = ?3",
      {tenant, name, number});
  if (!linked) return linked.error();
  auto gone = t.run("DELETE FROM revisions WHERE tenant = ? AND name = ? AND number = ?",
                    {tenant, name, number});
  if (!gone) return gone.error();
  return ok;
}

Error no_revision(const std::string& name, std::int32_t number) {
  return {Code::not_found, "there is no " + name + "@" + std::to_string(number)};
}

class StoreCatalog final : public Catalog {
 public:
  StoreCatalog(store::Store* store, std::string tenant)
      : store_(store), tenant_(std::move(tenant)) {}

  Result<> load() {
    return store_->transact_now([this](store::Transaction& t) -> Result<> {
      if (auto functions = load_functions(t); !functions) return functions;
      return load_revisions(t);
    });
  }

  RevisionPtr active(std::string_view name) const override {
    const Function* function = find(name);
    return function ? function->revisions.at(function->active) : nullptr;
  }

  const Function* find(std::string_view name) const override {
    const auto known = functions_.find(name);
    return known == functions_.end() ? nullptr : &known->second;
  }

  const std::map<std::string, Function, std::less<>>& all() const override { return functions_; }

  std::set<Digest> live_blobs() const override {
    std::set<Digest> live;
    for (const auto& [name, function] : functions_) {
      for (const auto& [number, revision] : function.revisions) {
        for (const File& file : revision->files) live.insert(file.digest);
        for (const File& file : revision->prepared) live.insert(file.digest);
      }
    }
    return live;
  }

  asio::awaitable<Result<RevisionPtr>> publish(Draft draft, WallTime now) override {
    if (auto good = validate(draft); !good) co_return good.error();
    const Digest digest = digest_of(draft);
    const auto same = active(draft.manifest.name);
    if (same && same->digest == digest && same->prepared == draft.prepared) co_return same;

    auto revision = std::make_shared<Revision>(Revision{std::move(draft), tenant_, 0, digest, now});
    auto work = [revision, encoded = encode(*revision)](store::Transaction& t) -> Result<> {
      const std::string& name = revision->manifest.name;
      const auto numbers = numbers_of(t, revision->tenant, name);
      if (!numbers) return numbers.error();
      const std::int64_t active = *numbers ? (*numbers)->first : 0;
      const auto same = is_revision(t, *revision, encoded, active);
      if (!same) return same.error();
      const std::int64_t number = *same ? active : *numbers ? (*numbers)->second + 1 : 1;
      revision->number = static_cast<std::int32_t>(number);
      if (*same) return ok;
      auto set = set_active(t, revision->tenant, name, number, number);
      return set ? insert(t, *revision, encoded, active) : set;
    };
    const std::string name = revision->manifest.name;
    auto saved = co_await store_->transact(std::move(work));
    if (!saved) co_return std::move(saved).error().during("publishing " + name);
    Function& function = functions_[name];
    function.name = name;
    if (function.active != revision->number) {
      function.before[revision->number] = function.active;
      function.active = revision->number;
    }
    co_return function.revisions.try_emplace(revision->number, revision).first->second;
  }

  asio::awaitable<Result<RevisionPtr>> activate(std::string name, std::int32_t number) override {
    const auto wanted = revision(name, number);
    if (!wanted) co_return no_revision(name, number);
    if (find(name)->active == number) co_return wanted;
    const bool back = find(name)->goes_back(number);
    auto work = [tenant = tenant_, name, number, back](store::Transaction& t) -> Result<> {
      const auto numbers = numbers_of(t, tenant, name);
      if (!numbers) return numbers.error();
      if (!*numbers || (*numbers)->first == 0) return Error{Code::not_found, name + " is removed"};
      auto linked = back ? ok : set_before(t, tenant, name, number, (*numbers)->first);
      if (!linked) return linked;
      return set_active(t, tenant, name, number, (*numbers)->second);
    };
    auto saved = co_await store_->transact(std::move(work));
    if (!saved) co_return std::move(saved).error().during("activating " + wanted->label());
    functions_[name].make_active(number);
    co_return wanted;
  }

  // Removing what is not there is done already.
  asio::awaitable<Result<>> remove(std::string name) override {
    if (!find(name)) co_return Error{Code::not_found, "there is no function " + name};
    auto work = [tenant = tenant_, name](store::Transaction& t) -> Result<> {
      auto gone = t.run("DELETE FROM revisions WHERE tenant = ? AND name = ?", {tenant, name});
      if (!gone) return gone.error();
      auto idle =
          t.run("UPDATE functions SET active = 0 WHERE tenant = ? AND name = ?", {tenant, name});
      if (!idle) return idle.error();
      return ok;
    };
    auto saved = co_await store_->transact(std::move(work));
    if (!saved) co_return std::move(saved).error().during("removing " + name);
    functions_.erase(name);
    co_return ok;
  }

  asio::awaitable<Result<>> remove_revision(std::string name, std::int32_t number) override {
    if (!revision(name, number)) co_return no_revision(name, number);
    auto work = [tenant = tenant_, name, number](store::Transaction& t) -> Result<> {
      const auto numbers = numbers_of(t, tenant, name);
      if (!numbers) return numbers.error();
      if (*numbers && (*numbers)->first == number) {
        return Error{Code::conflict, name + "@" + std::to_string(number) + " serves"};
      }
      return delete_revision(t, tenant, name, number);
    };
    auto saved = co_await store_->transact(std::move(work));
    if (!saved) co_return std::move(saved).error().during("removing a revision of " + name);
    functions_[name].take_out(number);
    co_return ok;
  }

 private:
  RevisionPtr revision(std::string_view name, std::int32_t number) const {
    const Function* function = find(name);
    if (!function) return nullptr;
    const auto known = function->revisions.find(number);
    return known == function->revisions.end() ? nullptr : known->second;
  }

  Result<> load_functions(store::Transaction& t) {
    auto rows =
        t.run("SELECT name, active FROM functions WHERE tenant = ? AND active > 0", {tenant_});
    if (!rows) return rows.error();
    for (const store::Row& row : *rows) {
      const std::string& name = std::get<std::string>(row[0]);
      functions_[name].name = name;
      functions_[name].active = static_cast<std::int32_t>(std::get<std::int64_t>(row[1]));
    }
    return ok;
  }

  // Function by function, since a statement gives a bounded number of rows.
  Result<> load_revisions(store::Transaction& t) {
    for (auto& [name, function] : functions_) {
      auto rows = t.run(
          "SELECT number, digest, created_ms, draft, came_after FROM revisions"
          " WHERE tenant = ? AND name = ?",
          {tenant_, name});
      if (!rows) return rows.error();
      for (const store::Row& row : *rows) {
        if (auto loaded = load_revision(function, row); !loaded) {
          return std::move(loaded).error().during("loading " + name);
        }
      }
      if (!function.revisions.contains(function.active)) {
        return Error{Code::unavailable,
                     name + "@" + std::to_string(function.active) + " is missing from the catalog"};
      }
    }
    return ok;
  }

  Result<> load_revision(Function& function, const store::Row& row) {
    auto draft = decode_draft(std::get<std::string>(row[3]));
    if (!draft) return draft.error();
    auto digest = Digest::parse(std::get<std::string>(row[1]));
    if (!digest) return digest.error();
    if (digest_of(*draft) != *digest) {
      return Error{Code::unavailable, "a revision in the catalog is not what its digest says"};
    }
    const auto number = static_cast<std::int32_t>(std::get<std::int64_t>(row[0]));
    function.before[number] = static_cast<std::int32_t>(std::get<std::int64_t>(row[4]));
    function.revisions[number] = std::make_shared<const Revision>(Revision{
        *std::move(draft), tenant_, number, *std::move(digest), {std::get<std::int64_t>(row[2])}});
    return ok;
  }

  store::Store* store_;
  std::string tenant_;
  std::map<std::string, Function, std::less<>> functions_;
};

}  // namespace

std::string Revision::label() const {
  return manifest.name + "@" + std::to_string(number);
}

std::int32_t Function::previous() const {
  const auto known = before.find(active);
  if (known != before.end() && revisions.contains(known->second)) return known->second;
  const auto found = revisions.find(active);
  return found == revisions.end() || found == revisions.begin() ? 0 : std::prev(found)->first;
}

bool Function::goes_back(std::int32_t to) const {
  std::int32_t at = active;
  for (std::size_t i = 0; i <= revisions.size() && at != 0; ++i) {
    if (at == to) return true;
    const auto known = before.find(at);
    at = known == before.end() ? 0 : known->second;
  }
  return false;
}

void Function::make_active(std::int32_t number) {
  if (!goes_back(number)) before[number] = active;
  active = number;
}

void Function::take_out(std::int32_t number) {
  const std::int32_t earlier = before[number];
  for (auto& [_, each] : before) {
    if (each == number) each = earlier;
  }
  before.erase(number);
  revisions.erase(number);
}

std::span<const store::Migration> migrations() {
  return steps;
}

RevisionPtr find_revision(const Catalog& catalog, std::string_view name, std::string_view number) {
  const Function* const function = catalog.find(name);
  if (function == nullptr) return nullptr;
  std::int32_t wanted = 0;
  std::from_chars(number.data(), number.data() + number.size(), wanted);
  const auto found = function->revisions.find(wanted);
  const bool is_it = found != function->revisions.end() && std::to_string(wanted) == number;
  return is_it ? found->second : nullptr;
}

Digest digest_of(const Draft& draft) {
  return blobs::digest_of(identity(draft));
}

Result<std::unique_ptr<Catalog>> open(store::Store* store, std::string tenant) {
  auto catalog = std::make_unique<StoreCatalog>(store, std::move(tenant));
  auto loaded = catalog->load();
  if (!loaded) return std::move(loaded).error().during("opening the catalog");
  return catalog;
}

}  // namespace dormouse::catalog
