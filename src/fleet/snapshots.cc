// How a template is saved as its revision is deployed, so that a later one need not be loaded:
// docs/formats/snapshot.md. Nothing that goes wrong here fails a deploy.
#include <algorithm>

#include "fleet/revision_files.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::string_view option = snapshot_option;

void forget_snapshot(catalog::Draft& draft, std::string why) {
  draft.load_options.erase(std::string(option));
  draft.notes[std::string(option)] = "no: " + std::move(why);
  std::erase_if(draft.prepared, [](const catalog::File& file) {
    return file.path == ".dormouse/" + std::string(option);
  });
}

std::string milliseconds(Duration took) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()) +
         " ms";
}

}  // namespace

// A template with secrets has them in its memory, which is not to be on disk.
bool Shard::can_be_saved(const catalog::Draft& draft) const {
  return options_.runtimes.at(draft.manifest.runtime).snapshots && forks(draft) &&
         draft.manifest.secrets.empty() && !has_snapshot(draft);
}

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
  auto adopting = adopt(draft, std::move(out), std::move(*prepared));
  co_return co_await std::move(adopting);
}

// Wakes what was saved, and forks of it. It is kept if that is sooner than loading was.
asio::awaitable<void> Shard::try_snapshot(catalog::Draft* draft, Duration without,
                                          const Witness* witness) {
  witness->progress("waking what was saved");
  catalog::Draft trial = *draft;
  auto laying = parts_.blobs->lay_out(tree_name(trial), tree_files(trial));
  const auto tree = co_await std::move(laying);
  if (!tree) co_return forget_snapshot(*draft, tree.error().message);
  auto loading = load_once(&trial, *tree, witness);
  const auto loaded = co_await std::move(loading);
  if (!loaded) co_return forget_snapshot(*draft, loaded.error().message);
  const std::string& said = trial.ready.notes[std::string(option)];
  if (said != snapshot_woken) co_return forget_snapshot(*draft, said);
  if (!forks(trial)) co_return forget_snapshot(*draft, trial.notes[std::string(template_option)]);
  if (*loaded >= without) {
    co_return forget_snapshot(
        *draft, "waking it takes " + milliseconds(*loaded) + ", loading " + milliseconds(without));
  }
  draft->notes[std::string(option)] +=
      ", awake in " + milliseconds(*loaded) + " instead of " + milliseconds(without);
}

}  // namespace dormouse::fleet
