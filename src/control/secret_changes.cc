#include "control/secret_changes.h"

#include <algorithm>

#include "async/shielded.h"
#include "base/utf8.h"

namespace dormouse::control {
namespace {

bool uses(const catalog::Manifest& manifest, std::string_view secret) {
  return std::ranges::any_of(manifest.secrets,
                             [&](const auto& each) { return each.second.secret == secret; });
}

}  // namespace

Result<> check_secrets(const catalog::Manifest& manifest, const secrets::Secrets& secrets) {
  for (const auto& [variable, use] : manifest.secrets) {
    if (secrets.contains(use.secret)) continue;
    return Error{Code::conflict, "secrets: \"" + variable + "\": there is no secret \"" +
                                     use.secret + "\"; set it with `dormouse secret set " +
                                     use.secret + "`"};
  }
  return ok;
}

SecretChanges::SecretChanges(asio::any_io_executor executor, async::Clock* clock,
                             catalog::Catalog* catalog, secrets::Secrets* secrets,
                             fleet::Fleet* fleet)
    : clock_(clock),
      catalog_(catalog),
      secrets_(secrets),
      fleet_(fleet),
      tasks_(std::move(executor)) {
}

std::vector<std::string> SecretChanges::users(std::string_view secret) const {
  std::vector<std::string> names;
  for (const auto& [name, function] : catalog_->all()) {
    const auto revision = catalog_->active(name);
    if (revision && uses(revision->manifest, secret)) names.push_back(name);
  }
  return names;
}

asio::awaitable<Result<secrets::Fact>> SecretChanges::set(std::string name, std::string value) {
  if (valid_utf8(value) != value) {
    co_return Error{Code::invalid_argument, "the value is not UTF-8; encode bytes, as in base64"};
  }
  auto change = set_and_serve(std::move(name), std::move(value));
  co_return co_await async::shielded(&tasks_, std::move(change));
}

asio::awaitable<Result<secrets::Fact>> SecretChanges::set_and_serve(std::string name,
                                                                    std::string value) {
  auto changing = secrets_->set(name, std::move(value), clock_->wall());
  auto fact = co_await std::move(changing);
  if (!fact) co_return fact;
  // Nothing that holds the old value takes another call: no instance, no template, no spare fork.
  for (const std::string& user : users(name)) fleet_->serve(user, catalog_->active(user));
  retire_users(name);
  co_return fact;
}

// Of the revisions that do not serve and may be called all the same.
void SecretChanges::retire_users(std::string_view secret) {
  for (const auto& [function, its] : catalog_->all()) {
    for (const auto& [number, revision] : its.revisions) {
      const bool serves = number == its.active;
      if (!serves && uses(revision->manifest, secret)) fleet_->retire(function, number);
    }
  }
}

asio::awaitable<Result<>> SecretChanges::remove(std::string name) {
  std::string names;
  for (const std::string& user : users(name)) names += (names.empty() ? "" : ", ") + user;
  if (!names.empty()) {
    co_return Error{Code::conflict, "the secret \"" + name + "\" is used by " + names +
                                        "; deploy without it, or delete what uses it, first"};
  }
  auto change = remove_and_retire(std::move(name));
  co_return co_await async::shielded(&tasks_, std::move(change));
}

asio::awaitable<Result<>> SecretChanges::remove_and_retire(std::string name) {
  auto removing = secrets_->remove(name);
  auto removed = co_await std::move(removing);
  if (removed) retire_users(name);
  co_return removed;
}

asio::awaitable<void> SecretChanges::stop() {
  co_await tasks_.join();
}

}  // namespace dormouse::control
