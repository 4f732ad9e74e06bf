// How a revision is tried out before it may serve: prepared, and really started once.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "fleet/network.h"
#include "fleet/revision_files.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::uint64_t prepared_bytes_max = std::uint64_t{64} << 30;
constexpr std::size_t prepared_files_max = 64;
constexpr std::uint64_t trial_bit = std::uint64_t{1} << 63;

// Measuring a model holds it in several forms at once, beside what an instance will need.
std::int64_t memory_to_prepare(const catalog::Draft& draft, const Resources& node) {
  constexpr std::int64_t forms = 6, base_bytes = std::int64_t{512} << 20;
  std::int64_t bytes = base_bytes;
  for (const catalog::File& file : draft.files) {
    bytes += forms * static_cast<std::int64_t>(std::min<std::uint64_t>(file.size, 1ull << 40));
  }
  const std::int64_t declared = draft.manifest.resources.memory_bytes;
  return std::max(declared, std::min(bytes, node.memory_bytes));
}

Error unknown_runtime(const std::string& name, const std::map<std::string, Runtime>& runtimes) {
  std::string known;
  for (const auto& [each, _] : runtimes) known += (known.empty() ? "" : ", ") + each;
  return {Code::invalid_argument, "runtime: this node has no \"" + name + "\"; it has: " + known};
}

std::string mib(std::int64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

// An instance that the node has no room for, even alone, would never answer; and of those that stay
// awake, some would never start.
Result<> check_room(const catalog::Manifest& manifest, const Resources& node) {
  const std::int64_t each = manifest.resources.memory_bytes;
  const std::string all = ", and all of this node together have " + mib(node.memory_bytes);
  if (each > node.memory_bytes) {
    return Error{Code::invalid_argument, "memory: an instance is to have " + mib(each) + all};
  }
  if (each > 0 && manifest.instances_min > node.memory_bytes / each) {
    return Error{Code::invalid_argument,
                 "min_instances: " + std::to_string(manifest.instances_min) + " instances of " +
                     mib(each) + " each (`memory`) are to stay awake" + all};
  }
  return ok;
}

// What a sandbox writes to: a folder, or one file. It is gone with this.
class Out {
 public:
  enum class Kind : std::uint8_t { folder, file };
  Out(Kind kind, std::filesystem::path path) : kind_(kind), path_(std::move(path)) {}
  ~Out() {
    std::error_code failure;
    remove_all(path_, failure);
  }
  Out(const Out&) = delete;
  Out& operator=(const Out&) = delete;

  Result<> make() const {
    std::error_code failure;
    remove_all(path_, failure);
    create_directories(kind_ == Kind::folder ? path_ : path_.parent_path(), failure);
    if (kind_ == Kind::file && !failure && !std::ofstream(path_)) {
      failure = std::error_code(errno, std::generic_category());
    }
    const auto access = std::filesystem::perms::owner_all;
    if (!failure) permissions(path_, access, failure);
    if (!failure) return ok;
    return Error{Code::unavailable, "making " + path_.string() + ": " + failure.message()};
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  const Kind kind_;
  const std::filesystem::path path_;
};

}  // namespace

// An instance that scheduling does not know. It is gone with this, also when the node stops and the
// coroutine that tries it is unwound.
class Shard::Trial {
 public:
  Trial(Shard* shard, const Witness* witness)
      : shard_(shard), key_{trial_bit | ++shard->trials_made_} {
    auto made = std::make_unique<Instance>();
    made->name = "trial-" + std::to_string(shard->trials_made_);
    made->trial = true;
    made->printed = witness->printed;
    shard->instances_[key_] = std::move(made);
  }
  ~Trial() { shard_->bury(key_); }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  InstanceKey key() const { return key_; }

 private:
  Shard* const shard_;
  const InstanceKey key_;
};

asio::awaitable<Result<catalog::Draft>> Shard::try_out(catalog::Draft draft, Witness witness) {
  if (closing_) co_return Error{Code::unavailable, "the platform is stopping"};
  const auto runtime = options_.runtimes.find(draft.manifest.runtime);
  if (runtime == options_.runtimes.end()) {
    co_return unknown_runtime(draft.manifest.runtime, options_.runtimes);
  }
  const auto checked = check_files(draft);
  if (!checked) co_return checked.error();
  const auto room = check_room(draft.manifest, options_.node);
  if (!room) co_return room.error();
  draft.load_options = options_of(draft);
  auto pinning = pin_network(&draft);
  const auto pinned = co_await std::move(pinning);
  if (!pinned) co_return Error(pinned.error()).during("network");
  if (runtime->second.prepares) {
    witness.progress("preparing: measuring how this model runs best here");
    auto laying = parts_.blobs->lay_out(tree_name(draft), tree_files(draft));
    const auto source = co_await std::move(laying);
    if (!source) co_return source.error();
    auto preparing = prepare(&draft, *source, &witness);
    auto prepared = co_await std::move(preparing);
    if (!prepared) co_return std::move(prepared).error().during("preparing");
  }
  witness.progress("starting it once");
  auto laying = parts_.blobs->lay_out(tree_name(draft), tree_files(draft));
  const auto tree = co_await std::move(laying);
  if (!tree) co_return tree.error();
  auto loading = try_load(&draft, *tree, &witness);
  auto loaded = co_await std::move(loading);
  if (!loaded) co_return std::move(loaded).error();
  if (has_snapshot(draft)) {
    auto trying = try_snapshot(&draft, *loaded, &witness);
    co_await std::move(trying);
  }
  co_return draft;
}

// Names are asked for once: from here on the revision reaches the addresses that they have today.
asio::awaitable<Result<>> Shard::pin_network(catalog::Draft* draft) {
  const catalog::Manifest& manifest = draft->manifest;
  if (manifest.network.reach == catalog::Network::Reach::none) co_return ok;
  if (!options_.runtimes.at(manifest.runtime).loopback) {
    co_return Error{Code::invalid_argument,
                    "the runtime " + manifest.runtime + " has none; leave `network` out"};
  }
  std::string note;
  for (const std::string& text : manifest.network.allow) {
    const auto to = parse_destination(text);
    if (!to) co_return Error(to.error()).during(text);
    auto resolving = parts_.launcher->resolve(to->host);
    const auto addresses = co_await std::move(resolving);
    if (!addresses) co_return Error(addresses.error()).during(text);
    const auto good = check_addresses(*to, *addresses);
    if (!good) co_return Error(good.error()).during(text);
    draft->load_options[std::string(pin_prefix) + to->host] = pin_of(*addresses);
    if (!to->address) note += (note.empty() ? "" : ", ") + to->host + " is " + pin_of(*addresses);
  }
  if (!note.empty()) draft->notes["network"] = note;
  co_return ok;
}

asio::awaitable<Result<>> Shard::prepare(catalog::Draft* draft, std::filesystem::path source,
                                         const Witness* witness) {
  const Trial trial(this, witness);
  const InstanceKey key = trial.key();
  const Out out(Out::Kind::folder, options_.dir / instance(key)->name);
  const auto made = out.make();
  if (!made) co_return made;
  auto running = run_prepare(key, draft, std::move(source), out.path());
  Result<> ran = co_await std::move(running);
  Error given = ran ? Error{Code::cancelled, "done"} : ran.error();
  auto examining = autopsy(key, std::move(given));
  Error why = co_await std::move(examining);
  if (!ran) co_return why;
  co_return ok;
}

asio::awaitable<Result<>> Shard::run_prepare(InstanceKey key, catalog::Draft* draft,
                                             std::filesystem::path source,
                                             std::filesystem::path out) {
  catalog::Manifest manifest = draft->manifest;
  manifest.resources.memory_bytes = memory_to_prepare(*draft, options_.node);
  std::vector<sandbox::Bind> binds{{.source = out, .target = "/out", .writable = true}};
  auto making = blanks_.make(manifest.runtime, std::move(binds));
  auto made = co_await std::move(making);
  if (!made) co_return std::move(made).error();
  Instance& where = *instance(key);
  where.worker = std::move(*made);
  auto asking = ask(key, {.manifest = std::move(manifest),
                          .options = draft->load_options,
                          .tree = std::move(source),
                          .type = wire::Type::prepare,
                          .reply = wire::Type::prepared});
  const auto said = co_await std::move(asking);
  if (!said) co_return said.error();
  auto prepared = wire::decode_prepared(*said);
  if (!prepared) co_return Error{Code::function_failed, prepared.error().message};
  auto adopting = adopt(draft, std::move(out), std::move(*prepared));
  co_return co_await std::move(adopting);
}

// Takes what the runtime wrote into the blobs. File names come from inside the sandbox.
asio::awaitable<Result<>> Shard::adopt(catalog::Draft* draft, std::filesystem::path out,
                                       wire::Prepared prepared) {
  if (prepared.files.size() > prepared_files_max) {
    co_return Error{Code::function_failed, "the runtime prepared more than 64 files"};
  }
  for (const std::string& name : prepared.files) {
    if (name.empty() || name.starts_with('.') || name.find('/') != name.npos) {
      co_return Error{Code::function_failed, "the runtime prepared a file with a bad name"};
    }
    auto adopting = parts_.blobs->adopt(out / name, prepared_bytes_max);
    const auto digest = co_await std::move(adopting);
    if (!digest) co_return digest.error();
    const auto size = parts_.blobs->size(*digest);
    draft->prepared.push_back({".dormouse/" + name, *digest, size.value_or(0)});
  }
  draft->notes.merge(prepared.notes);
  for (auto& [key, value] : prepared.options) draft->load_options[key] = value;
  co_return ok;
}

// With a template if the runtime and the revision can; if the revision cannot, without. Code that
// wants a late secret as it is loaded cannot: there it has all of them only without a template.
// Gives how long loading took.
asio::awaitable<Result<Duration>> Shard::try_load(catalog::Draft* draft, std::filesystem::path tree,
                                                  const Witness* witness) {
  const std::string option(template_option);
  if (!options_.runtimes.at(draft->manifest.runtime).forks) {
    auto loading = load_once(draft, std::move(tree), witness);
    co_return co_await std::move(loading);
  }
  draft->load_options[option] = "yes";
  auto loading = load_once(draft, tree, witness);
  const Result<Duration> loaded = co_await std::move(loading);
  if (loaded && forks(*draft)) co_return loaded;
  if (!loaded) {
    if (!has_late(draft->manifest.secrets)) co_return loaded;
    draft->load_options[option] = "no";
    draft->notes[option] = "no: without its late secrets it does not load (" +
                           loaded.error().message + "); those that it reads then, declare `init`";
  }
  auto again = load_once(draft, std::move(tree), witness);
  co_return co_await std::move(again);
}

// A blank one, or one of its own that writes to this one file, and no more than it can take.
asio::awaitable<Result<std::unique_ptr<Worker>>> Shard::worker_to_try(
    catalog::Manifest manifest, const std::filesystem::path* out) {
  const std::string runtime = manifest.runtime;
  if (out != nullptr) {
    std::vector<sandbox::Bind> binds{{.source = *out, .target = "/snapshot", .writable = true}};
    auto making = blanks_.make(runtime, std::move(binds), snapshot_bytes_max(manifest));
    co_return co_await std::move(making);
  }
  auto taking = blanks_.take(runtime);
  auto taken = co_await std::move(taking);
  if (!taken) co_return std::move(taken).error();
  co_return std::move(taken->worker);
}

asio::awaitable<Result<Duration>> Shard::load_once(catalog::Draft* draft,
                                                   std::filesystem::path tree,
                                                   const Witness* witness) {
  const Trial trial(this, witness);
  const InstanceKey key = trial.key();
  const Out out(Out::Kind::file, options_.dir / (instance(key)->name + ".snapshot"));
  const bool saves = can_be_saved(*draft) && out.make();
  auto taking = worker_to_try(draft->manifest, saves ? &out.path() : nullptr);
  auto taken = co_await std::move(taking);
  if (!taken) co_return std::move(taken).error();
  instance(key)->worker = std::move(*taken);
  wire::Options options = draft->load_options;
  if (saves) options[std::string(snapshot_option)] = "save";
  auto loading = ask(
      key, {.manifest = draft->manifest, .options = std::move(options), .tree = std::move(tree)});
  Result<std::string> said = co_await std::move(loading);
  if (said && options_.runtimes.at(draft->manifest.runtime).listens) {
    auto connecting = instance(key)->worker->sandbox().connect(program_port);
    const auto reached = co_await std::move(connecting);
    if (!reached) said = reached.error();
  }
  Result<> forked = ok;
  const auto ready = said ? wire::decode_ready(*said) : Result<wire::Ready>(said.error());
  const bool refused = ready && ready->notes.contains(std::string(template_option));
  if (said && forks(*draft) && !refused) {
    bool was_killed = false;
    auto trying = try_fork(key, &draft->manifest, witness, &was_killed);
    forked = co_await std::move(trying);
    if (was_killed) {
      auto again = try_fork(key, &draft->manifest, witness, &was_killed);
      forked = co_await std::move(again);
    }
  }
  const Duration took = instance(key)->wake.load;
  if (said && saves && !refused && forked) {
    witness->progress("saving it");
    auto saving = save_template(key, draft, out.path());
    const auto saved = co_await std::move(saving);
    if (!saved) draft->notes[std::string(snapshot_option)] = "no: " + saved.error().message;
  }
  Error given = said ? Error{Code::cancelled, "done"} : said.error();
  auto examining = autopsy(key, std::move(given));
  Error why = co_await std::move(examining);
  if (!said) co_return why;
  if (!ready) co_return Error{Code::function_failed, ready.error().message};
  draft->notes.insert(ready->notes.begin(), ready->notes.end());
  draft->ready = *ready;
  note_forking(draft, refused, forked);
  co_return took;
}

// What came of it is shown, and decides how its instances are started from now on.
void Shard::note_forking(catalog::Draft* draft, bool refused, const Result<>& forked) {
  const std::string option(template_option);
  if (!forks(*draft)) return;
  if (!refused) draft->notes[option] = forked ? "yes" : "no: " + forked.error().message;
  if (refused || !forked) draft->load_options[option] = "no";
}

// One fork, which has to say that it is ready. `was_killed`: by somebody outside, before it did.
asio::awaitable<Result<>> Shard::try_fork(InstanceKey mold, const catalog::Manifest* manifest,
                                          const Witness* witness, bool* was_killed) {
  const TimePoint deadline = parts_.clock->now() + options_.settling_max;
  instance(mold)->mold = std::make_unique<Template>(parts_.clock->now());
  instance(mold)->mold->each = limits_of(*manifest);
  const auto raised = instance(mold)->worker->sandbox().set_limits(limits_of_template(*manifest));
  if (!raised) co_return raised;
  const Trial trial(this, witness);
  const InstanceKey key = trial.key();
  auto forking = fork_into(mold, key, deadline);
  Result<> forked = co_await std::move(forking);
  if (forked) {
    auto saying = instance(key)->worker->expect(parts_.clock, wire::Type::ready, deadline);
    const auto said = co_await std::move(saying);
    if (!said) forked = said.error();
  }
  if (!forked && forked.error().message == worker_ended) {
    auto asking = was_killed_from_outside(key);
    *was_killed = co_await std::move(asking);
  }
  Error given = forked ? Error{Code::cancelled, "done"} : forked.error();
  auto examining = autopsy(key, std::move(given));
  Error why = co_await std::move(examining);
  if (!forked) co_return std::move(why).during("its fork");
  co_return ok;
}

}  // namespace dormouse::fleet
