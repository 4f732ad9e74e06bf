// Gives back the disk of what no revision names any more: what removed revisions had, as soon as
// nothing of them lives; every hour, whatever else is old, as unfinished uploads.
//
// Threads    One executor.
// Ownership  stop() before it dies.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "async/clock.h"
#include "async/task_group.h"
#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "conversations/conversations.h"

namespace dormouse::control {

class Garbage {
 public:
  static constexpr Duration period = std::chrono::hours(1);
  static constexpr Duration stale = std::chrono::hours(24);
  static constexpr Duration look_again = std::chrono::seconds(1);

  // `is_changing`: a deploy of the function may be about to name the same files.
  Garbage(asio::any_io_executor, async::Clock*, catalog::Catalog*, blobs::Blobs*,
          conversations::Conversations*, std::function<bool(const std::string&)> is_changing);

  void begin();  // Collects now, and every hour.
  // They were taken out of the catalog. Whoever still holds one of them, as its instances do, keeps
  // its files.
  void take(const std::vector<catalog::RevisionPtr>&);
  asio::awaitable<void> stop();

 private:
  struct Gone {
    std::weak_ptr<const catalog::Revision> revision;
    std::string function, tree;
    std::set<Digest> blobs;
  };

  asio::awaitable<void> collect_every_hour();
  asio::awaitable<void> collect();
  asio::awaitable<void> discard_gone();
  asio::awaitable<void> discard(std::set<Digest> blobs, std::set<std::string> trees);
  std::vector<Gone> take_dead();

  async::Clock* clock_;
  catalog::Catalog* catalog_;
  blobs::Blobs* blobs_;
  conversations::Conversations* conversations_;
  std::function<bool(const std::string&)> is_changing_;
  std::vector<Gone> gone_;
  bool discarding_ = false;
  async::TaskGroup tasks_;
};

}  // namespace dormouse::control
