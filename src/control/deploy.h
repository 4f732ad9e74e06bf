// From a request to a serving revision: read, check, try out, publish, serve.
//
// Nothing changes before the revision was really started once; what fails before that leaves
// everything as it was. A deploy goes on to its end when whoever asked for it leaves: it is a task
// of this object, not of the connection. One change of a function at a time: another one meanwhile
// is a conflict. But a trial has changed nothing yet: a rollback or a removal ends it.
//
// Threads    One executor.
// Ownership  stop() before it dies.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "async/clock.h"
#include "async/one_shot.h"
#include "async/task_group.h"
#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "control/garbage.h"
#include "fleet/fleet.h"
#include "gateway/json.h"
#include "http/server.h"
#include "secrets/secrets.h"

namespace dormouse::control {

// The body of a deploy: {"manifest": {…}, "files": [{"path", "digest", "size"}]}. Pure. `name` is
// the path's, which the manifest's must equal, or which it takes if it has none.
Result<catalog::Draft> read_deploy(const json::value& body, const std::string& name);

// That the paths are good, none is there twice, and none is a file here and a folder there. Pure.
Result<> check_tree(const std::vector<catalog::File>&);

class Deploys {
 public:
  static constexpr std::size_t trials_max = 4;  // More: overloaded.
  static constexpr Duration patience = std::chrono::minutes(30);
  static constexpr Duration heartbeat = std::chrono::seconds(10);

  Deploys(asio::any_io_executor, async::Clock*, catalog::Catalog*, secrets::Secrets*, blobs::Blobs*,
          fleet::Fleet*, Garbage*);

  // Checks the draft and begins; the Pieces are the lines of the stream.
  Result<http::Pieces> begin(catalog::Draft);
  // The same, for one who waits for its end.
  asio::awaitable<Result<catalog::RevisionPtr>> finish(catalog::Draft);

  bool is_changing(const std::string& name) const {
    return trials_.contains(name) || changing_.contains(name);
  }

  // Changes that the caller's cancellation does not interrupt between store and fleet.
  asio::awaitable<Result<catalog::RevisionPtr>> activate(std::string name, std::int32_t number);
  asio::awaitable<Result<>> remove(std::string name);
  // conflict if it serves.
  asio::awaitable<Result<>> remove_revision(std::string name, std::int32_t number);

  asio::awaitable<void> stop();  // Cancels what runs, and joins it.

 private:
  struct Progress;
  class Trial;
  class Change;

  Result<> check(const catalog::Draft&) const;
  Result<std::shared_ptr<Trial>> begin_trial(const catalog::Draft&);
  Result<std::shared_ptr<Change>> begin_change(const std::string& name);
  Result<std::shared_ptr<Change>> overtake(const std::string& name, std::string_view by);
  using End = async::OneShot<Result<catalog::RevisionPtr>>;
  asio::awaitable<void> deploy_to(std::shared_ptr<End>, std::shared_ptr<Trial>, catalog::Draft);
  asio::awaitable<void> run(std::shared_ptr<Progress>, std::shared_ptr<Trial>, catalog::Draft);
  asio::awaitable<Result<catalog::RevisionPtr>> deploy(std::shared_ptr<Progress>,
                                                       std::shared_ptr<Trial>, catalog::Draft);
  asio::awaitable<Result<catalog::Draft>> try_out(std::shared_ptr<Progress>, std::shared_ptr<Trial>,
                                                  catalog::Draft);
  asio::awaitable<Result<catalog::RevisionPtr>> activate_and_serve(std::string name,
                                                                   std::int32_t number);
  asio::awaitable<Result<>> remove_and_stop(std::string name);
  asio::awaitable<Result<>> remove_and_discard(std::string name, std::int32_t number);
  asio::awaitable<Result<std::optional<std::string>>> next(std::shared_ptr<Progress>);

  async::Clock* clock_;
  catalog::Catalog* catalog_;
  secrets::Secrets* secrets_;
  blobs::Blobs* blobs_;
  fleet::Fleet* fleet_;
  asio::any_io_executor executor_;
  Garbage* garbage_;
  std::map<std::string, Trial*> trials_;  // By function: each has one at a time.
  std::set<std::string> changing_;        // Functions that are rolled back, or lose something.
  async::TaskGroup tasks_;
};

}  // namespace dormouse::control
