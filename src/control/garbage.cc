#include "control/garbage.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "fleet/revision_files.h"

namespace dormouse::control {
namespace {

void report(const Result<std::uint64_t>& freed) {
  if (freed && *freed > 0) spdlog::info("removed {} bytes that no revision uses", *freed);
  if (!freed) spdlog::warn("blobs that no revision uses stay: {}", freed.error().message);
}

}  // namespace

Garbage::Garbage(asio::any_io_executor executor, async::Clock* clock, catalog::Catalog* catalog,
                 blobs::Blobs* blobs, conversations::Conversations* conversations,
                 std::function<bool(const std::string&)> is_changing)
    : clock_(clock),
      catalog_(catalog),
      blobs_(blobs),
      conversations_(conversations),
      is_changing_(std::move(is_changing)),
      tasks_(std::move(executor)) {
}

void Garbage::begin() {
  tasks_.spawn(collect_every_hour());
}

asio::awaitable<void> Garbage::collect_every_hour() {
  for (;;) {
    auto collecting = collect();
    co_await std::move(collecting);
    co_await clock_->sleep_until(clock_->now() + period);
  }
}

asio::awaitable<void> Garbage::collect() {
  conversations_->retain(fleet::revisions_in(*catalog_));
  std::set<Digest> live = catalog_->live_blobs();
  std::set<std::string> trees = fleet::tree_names(*catalog_);
  for (const Gone& each : gone_) {
    live.insert(each.blobs.begin(), each.blobs.end());
    trees.insert(each.tree);
  }
  auto collecting = blobs_->collect(std::move(live), std::move(trees), stale);
  report(co_await std::move(collecting));
}

void Garbage::take(const std::vector<catalog::RevisionPtr>& revisions) {
  for (const catalog::RevisionPtr& each : revisions) {
    Gone gone{each, each->manifest.name, fleet::tree_name(*each), {}};
    for (const catalog::File& file : each->files) gone.blobs.insert(file.digest);
    for (const catalog::File& file : each->prepared) gone.blobs.insert(file.digest);
    gone_.push_back(std::move(gone));
  }
  if (std::exchange(discarding_, true)) return;
  tasks_.spawn(discard_gone());
}

asio::awaitable<void> Garbage::discard_gone() {
  while (!gone_.empty()) {
    std::set<Digest> blobs;
    std::set<std::string> trees;
    for (Gone& each : take_dead()) {
      blobs.merge(each.blobs);
      trees.insert(std::move(each.tree));
    }
    auto discarding = discard(std::move(blobs), std::move(trees));
    co_await std::move(discarding);
    if (!gone_.empty()) co_await clock_->sleep_until(clock_->now() + look_again);
  }
  discarding_ = false;
}

// Takes those out of the list of which nothing lives.
std::vector<Garbage::Gone> Garbage::take_dead() {
  std::vector<Gone> dead;
  std::erase_if(gone_, [&](Gone& each) {
    if (!each.revision.expired() || is_changing_(each.function)) return false;
    dead.push_back(std::move(each));
    return true;
  });
  return dead;
}

// Others may have the same.
asio::awaitable<void> Garbage::discard(std::set<Digest> blobs, std::set<std::string> trees) {
  if (trees.empty()) co_return;
  for (const Digest& live : catalog_->live_blobs()) blobs.erase(live);
  for (const std::string& live : fleet::tree_names(*catalog_)) trees.erase(live);
  for (const Gone& each : gone_) {
    for (const Digest& live : each.blobs) blobs.erase(live);
    trees.erase(each.tree);
  }
  auto discarding = blobs_->discard(std::move(blobs), std::move(trees));
  report(co_await std::move(discarding));
}

asio::awaitable<void> Garbage::stop() {
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace dormouse::control
