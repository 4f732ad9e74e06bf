#include "secrets/secrets.h"

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "secrets/master_key.h"
#include "secrets/seal.h"

namespace dormouse::secrets {
namespace {

namespace fs = std::filesystem;

constexpr store::Migration steps[] = {
    {"secrets",
     "CREATE TABLE secrets ("
     "  name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, set_ms INTEGER NOT NULL,"
     "  nonce TEXT NOT NULL, sealed TEXT NOT NULL) STRICT, WITHOUT ROWID;"}};

// No secret has this name: its record holds nothing, and opens if the master key is the right one.
constexpr std::string_view key_check;

struct Record {
  Fact fact;
  Sealed sealed;
};

// What a record may not be taken apart from.
std::string associated(const Fact& fact) {
  std::string bytes = "dormouse secret 1";
  put_sized(bytes, fact.name);
  put(bytes, fact.version);
  put(bytes, fact.set_at.unix_ms);
  return bytes;
}

Record sealed(const MasterKey& key, Fact fact, std::string_view value) {
  Sealed under_lock = seal(key, fresh_nonce(), value, associated(fact));
  return {std::move(fact), std::move(under_lock)};
}

Result<std::int64_t> last_version(store::Transaction& t, const std::string& name) {
  auto rows = t.run("SELECT version FROM secrets WHERE name = ?", {name});
  if (!rows) return rows.error();
  return rows->empty() ? 0 : std::get<std::int64_t>(rows->front()[0]);
}

Result<> insert(store::Transaction& t, const Record& record) {
  auto inserted = t.run("INSERT OR REPLACE INTO secrets VALUES (?, ?, ?, ?, ?)",
                        {record.fact.name, record.fact.version, record.fact.set_at.unix_ms,
                         record.sealed.nonce, record.sealed.bytes});
  if (!inserted) return inserted.error();
  return ok;
}

Error no_secret(std::string_view name) {
  return {Code::not_found, "there is no secret \"" + std::string(name) +
                               "\"; set it with `dormouse secret set " + std::string(name) + "`"};
}

Result<> check(const std::string& name, std::string_view value) {
  if (!is_name(name)) {
    return Error{Code::invalid_argument,
                 "a secret's name is 1 to 64 letters, digits, \"_\", \".\" and \"-\", beginning "
                 "with a letter or \"_\""};
  }
  if (value.empty()) return Error{Code::invalid_argument, "the value is empty"};
  if (value.size() > value_bytes_max) {
    return Error{Code::too_large, "the value has " + std::to_string(value.size()) +
                                      " bytes; at most " + std::to_string(value_bytes_max) +
                                      " fit an environment variable of a function"};
  }
  if (value.contains('\0')) {
    return Error{Code::invalid_argument,
                 "the value has a NUL in it, which no environment variable can hold"};
  }
  return ok;
}

class StoreSecrets final : public Secrets {
 public:
  explicit StoreSecrets(store::Store* store) : store_(store) {}

  Result<> load(const fs::path& key_file) {
    auto read = store_->transact_now([this](store::Transaction& t) { return load_records(t); });
    if (!read) return read;
    return unlock(key_file);
  }

  std::vector<Fact> list() const override {
    std::vector<Fact> all;
    for (const auto& [name, record] : records_) all.push_back(record.fact);
    return all;
  }

  bool contains(std::string_view name) const override { return records_.contains(name); }

  Result<std::string> read(std::string_view name) const override {
    const auto known = records_.find(name);
    if (known == records_.end()) return no_secret(name);
    const Record& record = known->second;
    auto value = secrets::open(*key_, record.sealed, associated(record.fact));
    if (value) return *std::move(value);
    return Error{Code::unavailable, "the record of the secret \"" + std::string(name) +
                                        "\" was damaged; set it anew with `dormouse secret set " +
                                        std::string(name) + "`"};
  }

  asio::awaitable<Result<Fact>> set(std::string name, std::string value, WallTime now) override {
    const auto good = check(name, value);
    if (!good) {
      wipe(value);
      co_return good.error();
    }
    const auto made = std::make_shared<Record>();
    const auto plain = std::make_shared<std::string>(std::move(value));
    auto work = [this, made, plain, name, now](store::Transaction& t) -> Result<> {
      const auto version = last_version(t, name);
      if (!version) return version.error();
      *made = sealed(*key_, {name, *version + 1, now}, *plain);
      return insert(t, *made);
    };
    const auto saved = co_await store_->transact(std::move(work));
    wipe(*plain);
    if (!saved) co_return Error(saved.error()).during("setting the secret " + name);
    records_[name] = *made;
    co_return made->fact;
  }

  asio::awaitable<Result<>> remove(std::string name) override {
    if (!contains(name)) {
      co_return Error{Code::not_found,
                      "there is no secret \"" + name + "\"; `dormouse secret list` shows them"};
    }
    auto work = [name](store::Transaction& t) -> Result<> {
      auto gone = t.run("DELETE FROM secrets WHERE name = ?", {name});
      if (!gone) return gone.error();
      return ok;
    };
    auto saved = co_await store_->transact(std::move(work));
    if (!saved) co_return std::move(saved).error().during("removing the secret " + name);
    records_.erase(name);
    co_return ok;
  }

 private:
  Result<> load_records(store::Transaction& t) {
    auto rows = t.run("SELECT name, version, set_ms, nonce, sealed FROM secrets");
    if (!rows) return rows.error();
    for (store::Row& row : *rows) {
      Fact fact{std::get<std::string>(row[0]),
                std::get<std::int64_t>(row[1]),
                {std::get<std::int64_t>(row[2])}};
      Sealed bytes{std::get<std::string>(row[3]), std::get<std::string>(row[4])};
      const std::string name = fact.name;
      records_[name] = {std::move(fact), std::move(bytes)};
    }
    return ok;
  }

  Result<> unlock(const fs::path& key_file) {
    const auto checks = records_.extract(std::string(key_check));
    if (checks.empty() && !records_.empty()) {
      return Error{Code::unavailable, "the record that tells the right master key is gone"};
    }
    std::error_code failure;
    const bool has_key = fs::exists(key_file, failure);
    if (!has_key && !checks.empty()) return missing(key_file);
    auto key = has_key ? read_key(key_file) : make_key(key_file);
    if (!key) return std::move(key).error();
    key_ = std::make_unique<const MasterKey>(*key);
    if (checks.empty()) return write_check();
    const Record& check = checks.mapped();
    if (secrets::open(*key_, check.sealed, associated(check.fact))) return ok;
    return wrong(key_file);
  }

  Result<> write_check() {
    const Record check = sealed(*key_, {std::string(key_check), 1, {}}, "");
    return store_->transact_now([&](store::Transaction& t) { return insert(t, check); });
  }

  static Error missing(const fs::path& key_file) {
    return {Code::conflict,
            "the master key is not there: " + key_file.string() +
                ". The secrets in this data folder were sealed with it; put it back, or say where "
                "it is with --master-key-file. Nothing was changed"};
  }
  static Error wrong(const fs::path& key_file) {
    return {Code::conflict,
            key_file.string() +
                " is not the master key that the secrets in this data folder were sealed with. Put "
                "the right one there, or say where it is with --master-key-file. Nothing was "
                "changed"};
  }

  store::Store* store_;
  std::unique_ptr<const MasterKey> key_;
  std::map<std::string, Record, std::less<>> records_;
};

}  // namespace

bool is_name(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_good = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
  };
  return !name.empty() && name.size() <= name_bytes_max && is_letter(name.front()) &&
         std::ranges::all_of(name, is_good);
}

std::span<const store::Migration> migrations() {
  return steps;
}

Result<std::unique_ptr<Secrets>> open(store::Store* store, const fs::path& key_file) {
  auto secrets = std::make_unique<StoreSecrets>(store);
  auto loaded = secrets->load(key_file);
  if (!loaded) return std::move(loaded).error();
  return secrets;
}

}  // namespace dormouse::secrets
