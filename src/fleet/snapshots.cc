// How a template is saved as its revision is deployed, so that a later one need not be loaded, and
// how it is woken: docs/formats/snapshot.md. Nothing that goes wrong here fails a deploy, or a
// call.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "fleet/revision_files.h"
#include "fleet/revision_secrets.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::string_view option = snapshot_option;
constexpr Duration waking_max = std::chrono::seconds(10);

// What a worker that has loaded says of the snapshot.
std::string note_of(const std::string& said) {
  const auto ready = wire::decode_ready(said);
  if (!ready) return "";
  const auto found = ready->notes.find(std::string(option));
  return found == ready->notes.end() ? "" : found->second;
}

void forget_snapshot(blobs::Blobs& blobs, catalog::Draft& draft, std::string why) {
  draft.load_options.erase(std::string(option));
  draft.notes[std::string(option)] = "no: " + std::move(why);
  std::erase_if(draft.prepared, [&](const catalog::File& file) {
    const bool is_it = file.path == snapshot_path;
    if (is_it) blobs.settle({file.digest}, 0);  // adopt() had claimed it.
    return is_it;
  });
}

std::string milliseconds(Duration took) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()) +
         " ms";
}

}  // namespace

Shard::Question Shard::question_of(const catalog::Revision& revision, std::filesystem::path tree) {
  wire::Options options = revision.load_options;
  options.erase(std::string(option));
  return {.manifest = revision.manifest, .options = std::move(options), .tree = std::move(tree)};
}

bool Shard::wakes(FunctionKey function, From from) const {
  const Served& served = served_.at(function);
  return from == From::snapshot && has_snapshot(*served.revision) && !served.snapshot_is_broken;
}

// Whoever does not come to be in time leaves some for loading.
asio::awaitable<Result<std::string>> Shard::wake_template(InstanceKey mold,
                                                          std::filesystem::path tree) {
  const catalog::RevisionPtr revision = served_.at(instance(mold)->function).revision;
  Question question = question_of(*revision, std::move(tree));
  question.options[std::string(option)] = "yes";
  question.manifest.start_timeout = std::min(question.manifest.start_timeout, waking_max);
  auto asking = ask(mold, std::move(question));
  auto said = co_await std::move(asking);
  if (!closing_ && !instance(mold)->stopping) note_waking(mold, said);
  co_return said;
}

void Shard::note_waking(InstanceKey mold, const Result<std::string>& said) {
  Instance& it = *instance(mold);
  Served& served = served_.at(it.function);
  const std::string& name = served.revision->manifest.name;
  const std::string note = said ? note_of(*said) : "";
  served.snapshot_is_stale = note != snapshot_woken;
  served.snapshot_is_broken = !said;
  if (!said) spdlog::warn("the snapshot of {} was not woken: {}", name, said.error().message);
  if (!served.snapshot_is_stale) it.rung = ledger::Rung::from_snapshot;
  if (said && served.snapshot_is_stale) {
    spdlog::info("the snapshot of {} is {}; deploy it again for one", name, note);
  }
}

// A template with `init` secrets has them in its memory, which is not to be on disk.
bool Shard::can_be_saved(const catalog::Draft& draft) const {
  const Runtime& runtime = runtime_of(options_.runtimes, draft.manifest.runtime);
  const std::string& wanted = draft.manifest.snapshot;
  const bool is_wanted =
      wanted == catalog::snapshot_on || (wanted == catalog::snapshot_auto && runtime.saves_unasked);
  return runtime.snapshots && is_wanted && forks(draft) && !has_init(draft.manifest.secrets) &&
         !has_snapshot(draft);
}

// Whether a deploy of the same would make one: it is useless, or was deployed before there were
// any.
bool Shard::lacks_snapshot(const Served& served) const {
  const catalog::Draft& draft = *served.revision;
  const bool is_of_before = can_be_saved(draft) && !draft.notes.contains(std::string(option));
  return served.snapshot_is_stale || is_of_before;
}

// What it says comes from inside a sandbox: nothing of it is taken but one file, and one note.
asio::awaitable<Result<>> Shard::save_template(InstanceKey mold, catalog::Draft* draft,
                                               std::filesystem::path out) {
  Worker& worker = *instance(mold)->worker;
  const TimePoint deadline = parts_.clock->now() + draft->manifest.start_timeout;
  worker.post(wire::Type::prepare, 0, wire::encode(wire::Load{}));
  flush(mold);
  auto waiting = worker.expect(parts_.clock, wire::Type::prepared, deadline);
  const auto said = co_await std::move(waiting);
  if (!said) co_return said.error();
  auto prepared = wire::decode_prepared(*said);
  if (!prepared) co_return Error{Code::function_failed, prepared.error().message};
  std::string note = prepared->notes[std::string(option)];
  const bool has_file = prepared->files == std::vector<std::string>{std::string(option)};
  if (!has_file) {
    constexpr std::string_view no = "no: ";
    co_return Error{Code::function_failed,
                    note.starts_with(no) ? note.substr(no.size()) : "it was not written"};
  }
  auto adopting = parts_.blobs->adopt(std::move(out), snapshot_bytes_max(draft->manifest));
  const auto digest = co_await std::move(adopting);
  if (!digest) co_return digest.error();
  const auto size = parts_.blobs->size(*digest);
  draft->prepared.push_back({std::string(snapshot_path), *digest, size.value_or(0)});
  draft->load_options[std::string(option)] = "yes";
  draft->notes[std::string(option)] = std::move(note);
  co_return ok;
}

// Wakes what was saved, and forks of it. It is kept if that is sooner than loading was.
asio::awaitable<void> Shard::try_snapshot(catalog::Draft* draft, Duration without,
                                          const Witness* witness) {
  const auto forget = [&](std::string why) {
    forget_snapshot(*parts_.blobs, *draft, std::move(why));
  };
  witness->progress("waking what was saved");
  catalog::Draft trial = *draft;
  auto laying = parts_.blobs->lay_out(tree_name(trial), tree_files(trial));
  const auto tree = co_await std::move(laying);
  if (!tree) co_return forget(tree.error().message);
  auto loading = load_once(&trial, *tree, witness);
  const auto loaded = co_await std::move(loading);
  if (!loaded) co_return forget(loaded.error().message);
  const std::string& said = trial.ready.notes[std::string(option)];
  if (said != snapshot_woken) co_return forget(said);
  if (!forks(trial)) co_return forget(trial.notes[std::string(template_option)]);
  if (*loaded >= without) {
    co_return forget("waking it takes " + milliseconds(*loaded) + ", loading " +
                     milliseconds(without));
  }
  draft->notes[std::string(option)] +=
      ", awake in " + milliseconds(*loaded) + " instead of " + milliseconds(without);
}

}  // namespace dormouse::fleet
