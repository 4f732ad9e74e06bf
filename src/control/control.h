// The control API, /api/v1/…: deploy, inspect, roll back, logs, usage. The routes and what they
// answer are in routes.cc and openapi.cc, and served as /api/v1/openapi.json.
//
// The daemon's router calls admit() and handle() for every path under /api/, as http::Handler has
// them. JSON exists only here and in the gateway.
//
// Security   Every request needs a known Host, no foreign Origin, and a key if there are any; if
//            there are none, it must come from this machine. A write needs its content type.
// Threads    One executor; long JSON and the examination of the host have a thread of their own.
// Ownership  What Deps points to outlives it. The server ends first; then stop(); then it dies.
// Errors     {"error": {…}} with the status of gateway/errors.h; 403 for Host and Origin, 405 for
//            a method that the path does not have.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "async/clock.h"
#include "async/thread.h"
#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "control/deploy.h"
#include "control/lambda_control.h"
#include "control/routes.h"
#include "control/secret_changes.h"
#include "conversations/conversations.h"
#include "fleet/fleet.h"
#include "gateway/keys.h"
#include "gateway/origin.h"
#include "http/server.h"
#include "ledger/ledger.h"
#include "logs/logs.h"
#include "sandbox/sandbox.h"
#include "secrets/secrets.h"

namespace dormouse::control {

struct NodeFacts {
  std::string name;
  std::string version;
  std::string data_dir;
  std::string listen;  // "127.0.0.1:8080"
  std::string currency;
  WallTime started;
  Resources resources;
};

struct Deps {
  asio::any_io_executor executor;
  async::Clock* clock = nullptr;
  catalog::Catalog* catalog = nullptr;
  secrets::Secrets* secrets = nullptr;
  blobs::Blobs* blobs = nullptr;
  fleet::Fleet* fleet = nullptr;
  ledger::Ledger* ledger = nullptr;
  logs::Logs* logs = nullptr;
  conversations::Conversations* conversations = nullptr;
  const gateway::Keys* keys = nullptr;  // empty(): none is asked for.
  gateway::Hosts hosts;
  NodeFacts node;
  std::function<std::vector<sandbox::Finding>()> examine;  // Called on a thread of its own.
  std::function<Result<Unpacked>(int zip)> unpack;         // Likewise.
  catalog::Network lambda_network;  // Of what AWS's tools make, unless its tags say another.
};

class Control final : public http::Handler {
 public:
  explicit Control(Deps);

  http::Admission admit(const http::Head&, bool loopback) override;
  asio::awaitable<http::Response> handle(http::Request) override;

  // From here on, streams of logs end. Call it before the server stops: it would wait for them.
  void close_streams() { closing_ = true; }
  http::Handler* lambda_api() { return &lambda_; }  // The same for AWS's deploy tools.

  void begin_collecting() { garbage_.begin(); }  // What no revision uses, every hour.

  // Cancels deploys that still run, and joins them.
  asio::awaitable<void> stop();

 private:
  struct Follower;
  using Parameters = std::vector<std::string>;

  asio::awaitable<http::Response> dispatch(Operation, Parameters, http::Request);
  asio::awaitable<Result<json::value>> body_of(http::Request);

  http::Response node() const;
  asio::awaitable<http::Response> doctor();
  asio::awaitable<http::Response> blobs_missing(http::Request);
  asio::awaitable<http::Response> upload(std::string digest, http::Request);
  asio::awaitable<http::Response> deploy(std::string name, http::Request);
  asio::awaitable<http::Response> list();
  asio::awaitable<http::Response> show(std::string name);
  asio::awaitable<http::Response> remove(std::string name);
  asio::awaitable<http::Response> remove_revision(std::string name, std::string number);
  http::Response revisions(const std::string& name) const;
  asio::awaitable<http::Response> rollback(std::string name, http::Request);
  http::Response logs(const std::string& name, const std::string& query);
  asio::awaitable<http::Response> usage(std::string query);
  asio::awaitable<http::Response> invocation(std::string id);
  http::Response conversations(const std::string& function) const;
  http::Response forget_conversations(const std::string& function, std::string_view query);
  http::Response secrets() const;
  asio::awaitable<http::Response> set_secret(std::string name, http::Request);
  asio::awaitable<http::Response> remove_secret(std::string name);
  asio::awaitable<Result<std::optional<std::string>>> next_lines(std::shared_ptr<Follower>);

  const Deps deps_;
  bool closing_ = false;
  Garbage garbage_;
  Deploys deploys_;
  SecretChanges secret_changes_;
  LambdaControl lambda_;
  async::Thread aside_{"control"};
};

}  // namespace dormouse::control
