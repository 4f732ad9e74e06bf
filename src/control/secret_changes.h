// Changes of secrets: in the store first, then in every function that uses one. When set() is done,
// each of them serves anew: calls that run end as they began, and later ones see the new value.
//
// Threads    One executor.
// Cancelling A change goes on to its end when whoever asked for it leaves.
// Ownership  stop() before it dies.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "async/task_group.h"
#include "catalog/catalog.h"
#include "fleet/fleet.h"
#include "secrets/secrets.h"

namespace dormouse::control {

// conflict, with what to say to set it, if the manifest names a secret that there is not.
Result<> check_secrets(const catalog::Manifest&, const secrets::Secrets&);

class SecretChanges {
 public:
  SecretChanges(asio::any_io_executor, async::Clock*, catalog::Catalog*, secrets::Secrets*,
                fleet::Fleet*);

  // Functions whose revision that serves uses it, by name.
  std::vector<std::string> users(std::string_view secret) const;

  asio::awaitable<Result<secrets::Fact>> set(std::string name, std::string value);
  asio::awaitable<Result<>> remove(std::string name);  // conflict: a function uses it.

  asio::awaitable<void> stop();

 private:
  asio::awaitable<Result<secrets::Fact>> set_and_serve(std::string name, std::string value);
  asio::awaitable<Result<>> remove_and_retire(std::string name);
  void retire_users(std::string_view secret);

  async::Clock* clock_;
  catalog::Catalog* catalog_;
  secrets::Secrets* secrets_;
  fleet::Fleet* fleet_;
  async::TaskGroup tasks_;
};

}  // namespace dormouse::control
