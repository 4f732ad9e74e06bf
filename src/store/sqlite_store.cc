#include "store/sqlite_store.h"

#include <map>
#include <mutex>

#include "async/thread.h"
#include "store/sqlite.h"

namespace dormouse::store {
namespace {

constexpr std::int64_t application_id = 0x646F726D;  // "dorm"
constexpr std::size_t group_max = 512;               // Transactions that share one commit.

// One transact() that waits. `answer` is set once its fate is known.
struct Waiting {
  std::function<Result<>(Transaction&)> work;
  std::optional<Result<>> answer;
};
using Group = std::vector<std::shared_ptr<Waiting>>;

Error unknown(const Error& cause) {
  return {Code::unavailable, "commit: unknown whether it was saved: " + cause.message};
}

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(std::unique_ptr<Connection> connection)
      : connection_(std::move(connection)) {}

  asio::awaitable<Result<>> transact(std::function<Result<>(Transaction&)> work) override {
    auto waiting = std::make_shared<Waiting>(std::move(work));
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(waiting);
    }
    // The first of a group that runs settles all that wait by then; the others find their answer.
    auto settle = [this, waiting] {
      const std::lock_guard lock(connection_mutex_);
      while (!waiting->answer) commit(take_group());
      return *std::move(waiting->answer);
    };
    co_return co_await thread_.run(std::move(settle));
  }

  Result<> transact_now(const std::function<Result<>(Transaction&)>& work) override {
    auto waiting = std::make_shared<Waiting>(work);
    const std::lock_guard lock(connection_mutex_);
    commit({waiting});
    return *std::move(waiting->answer);
  }

 private:
  Group take_group() {
    const std::lock_guard lock(mutex_);
    const std::size_t size = std::min(waiting_.size(), group_max);
    const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(size);
    Group group(waiting_.begin(), end);
    waiting_.erase(waiting_.begin(), end);
    return group;
  }

  void commit(Group group) {
    auto begun = connection_->run("BEGIN IMMEDIATE", {});
    if (!begun) return fail(group, std::move(begun).error().during("beginning"));
    Group settled;
    for (const auto& waiting : group) {
      waiting->answer = run_one(*waiting);
      settled.push_back(waiting);
      // A full or failing disk can make SQLite roll back everything that came before, too.
      if (!connection_->in_transaction()) {
        fail(settled, Error{Code::unavailable, "the transaction was rolled back"});
        return fail_unanswered(group);
      }
    }
    const auto committed = connection_->run("COMMIT", {});
    if (committed) return;
    if (connection_->in_transaction()) (void)connection_->run("ROLLBACK", {});
    fail(group, unknown(committed.error()));
  }

  Result<> run_one(Waiting& waiting) {
    if (auto saved = connection_->run("SAVEPOINT one", {}); !saved) return saved.error();
    Result<> answer = waiting.work(*connection_);
    waiting.work = nullptr;
    if (!connection_->in_transaction()) return answer;
    if (!answer) (void)connection_->run("ROLLBACK TO one", {});
    auto released = connection_->run("RELEASE one", {});
    if (answer && !released) return released.error();
    return answer;
  }

  // Those that have refused already keep their own reason.
  static void fail(const Group& group, const Error& error) {
    for (const auto& waiting : group) {
      if (!waiting->answer || *waiting->answer) waiting->answer = error;
    }
  }
  static void fail_unanswered(const Group& group) {
    fail(group, Error{Code::unavailable, "a transaction before it failed; nothing was saved"});
  }

  std::mutex mutex_;  // Over waiting_.
  Group waiting_;
  std::mutex connection_mutex_;  // Between the thread and transact_now().
  std::unique_ptr<Connection> connection_;
  async::Thread thread_{"store"};  // Joins first.
};

Error not_ours(const std::filesystem::path& file, std::string_view why) {
  return {Code::conflict, file.string() + " " + std::string(why) + "; it was left as it is"};
}

// Empty and ours, or ours by its application_id. Changes nothing.
Result<bool> is_new(Connection& db, const std::filesystem::path& file) {
  const auto id = db.number("PRAGMA application_id");
  if (!id) return id.error();
  if (*id == application_id) return false;
  const auto tables = db.number("SELECT count(*) FROM sqlite_master");
  if (!tables) return tables.error();
  if (*id != 0 || *tables != 0) return not_ours(file, "is not a database of dormouse");
  return true;
}

using Versions = std::map<std::string, std::int64_t, std::less<>>;

Result<Versions> versions_in(Connection& db) {
  const auto rows = db.run("SELECT module, version FROM schema_versions", {});
  if (!rows) return rows.error();
  Versions versions;
  for (const Row& row : *rows) {
    versions[std::get<std::string>(row[0])] = std::get<std::int64_t>(row[1]);
  }
  return versions;
}

Result<> check_not_newer(const Versions& have, std::span<const Migration> migrations,
                         const std::filesystem::path& file) {
  Versions known;
  for (const Migration& migration : migrations) ++known[std::string(migration.module)];
  for (const auto& [module, version] : have) {
    if (version > known[module]) {
      return not_ours(file, "is from a newer version (its " + module + " tables are version " +
                                std::to_string(version) + ")");
    }
  }
  return ok;
}

Result<> set_up(Connection& db, Sync sync) {
  std::string pragmas =
      "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;";
  pragmas += sync == Sync::full ? "PRAGMA synchronous=FULL;" : "PRAGMA synchronous=NORMAL;";
  return db.run_all(pragmas);
}

Result<> create(Connection& db) {
  return db.run_all(
      "BEGIN IMMEDIATE;"
      "PRAGMA application_id=" +
      std::to_string(application_id) +
      ";"
      "CREATE TABLE schema_versions (module TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT;"
      "COMMIT;");
}

Result<> apply(Connection& db, const Migration& migration, std::int64_t version,
               std::int64_t user_version) {
  const std::string module(migration.module);
  auto work = [&]() -> Result<> {
    if (auto done = db.run_all(migration.sql); !done) return done;
    auto noted = db.run(
        "INSERT INTO schema_versions VALUES (?, ?) "
        "ON CONFLICT (module) DO UPDATE SET version = excluded.version",
        {module, version});
    if (!noted) return noted.error();
    return db.run_all("PRAGMA user_version=" + std::to_string(user_version) + "; COMMIT");
  };
  if (auto begun = db.run_all("BEGIN IMMEDIATE"); !begun) return begun;
  Result<> done = work();
  if (done) return ok;
  if (db.in_transaction()) (void)db.run_all("ROLLBACK");
  return std::move(done).error().during("migrating " + module + " to version " +
                                        std::to_string(version));
}

Result<> migrate(Connection& db, std::span<const Migration> migrations, const Versions& have) {
  Versions reached;
  std::int64_t user_version = 0;
  for (const Migration& migration : migrations) {
    const std::string module(migration.module);
    const std::int64_t version = ++reached[module];
    ++user_version;
    const auto known = have.find(module);
    if (known != have.end() && known->second >= version) continue;
    if (auto applied = apply(db, migration, version, user_version); !applied) return applied;
  }
  return ok;
}

}  // namespace

Result<std::unique_ptr<Store>> open_with(const std::filesystem::path& file,
                                         std::span<const Migration> migrations, Sync sync) {
  auto connection = Connection::open(file);
  if (!connection) return connection.error();
  Connection& db = **connection;
  // Exclusive: no other process can even read the file while it is ours, and SQLite needs no
  // shared memory. Held from the first read on.
  auto done = db.run_all("PRAGMA locking_mode=EXCLUSIVE");
  if (!done) return done.error();
  const auto fresh = is_new(db, file);
  if (!fresh) return fresh.error();
  Versions have;
  if (!*fresh) {
    auto read = versions_in(db);
    if (!read) return read.error();
    have = *std::move(read);
    if (auto good = check_not_newer(have, migrations, file); !good) return good.error();
  }
  db.checkpoint_on_close();
  done = set_up(db, sync);
  if (done && *fresh) done = create(db);
  if (done) done = migrate(db, migrations, have);
  if (!done) return std::move(done).error().during("opening " + file.string());
  return std::make_unique<SqliteStore>(*std::move(connection));
}

Result<std::unique_ptr<Store>> open(const std::filesystem::path& file,
                                    std::span<const Migration> migrations) {
  return open_with(file, migrations, Sync::full);
}

}  // namespace dormouse::store
