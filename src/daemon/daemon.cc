#include "daemon/daemon.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>

#include "async/task_group.h"
#include "async/turns.h"
#include "catalog/catalog.h"
#include "cli/resolve.h"
#include "control/control.h"
#include "fleet/fleet.h"
#include "gateway/gateway.h"
#include "gateway/key_file.h"
#include "gateway/refusal.h"
#include "sandbox/lock.h"
#include "sandbox/sandbox.h"
#include "secrets/secrets.h"
#include "wire/socket.h"

namespace dormouse::daemon {
namespace {

namespace fs = std::filesystem;

constexpr Duration drain_grace = std::chrono::seconds(25);

// One daemon a folder: held until the process ends, however it ends.
Result<wire::Descriptor> lock(const fs::path& dir) {
  std::error_code failure;
  fs::create_directories(dir, failure);
  auto taken = sandbox::take_lock(dir / "lock");
  if (!taken && taken.error().code == Code::conflict) {
    return Error{Code::conflict, "another dormouse serves from " + dir.string() +
                                     "; choose another --data, or stop it"};
  }
  return taken;
}

void prepare_process() {
  umask(022);  // For the users of sandboxes; what is not for them is closed where it is made.
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  setrlimit(RLIMIT_CORE, &sandbox::no_core);
  prctl(PR_SET_DUMPABLE, 0);
  std::signal(SIGPIPE, SIG_IGN);
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("dormouse", std::move(sink)));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
}

// Every part, in the order they are built; members die in the reverse order.
class Platform {
 public:
  Platform(asio::io_context& io, const cli::DaemonConfig& config)
      : executor_(io.get_executor()),
        config_(cli::resolve(config)),
        clock_(async::system_clock()),
        tasks_(executor_) {}

  Result<> build();
  asio::awaitable<void> stop();
  std::uint16_t port() const { return server_->port(); }
  void read_keys() { key_file_.refresh(); }

 private:
  Result<> open_state();
  Result<> open_fleet();
  Result<> open_doors();
  control::NodeFacts facts() const;
  gateway::Hosts known_hosts() const;
  sandbox::LauncherOptions sandboxes() const;

  asio::any_io_executor executor_;
  const cli::DaemonConfig config_;
  wire::Descriptor lock_;
  gateway::KeyFile key_file_;
  std::unique_ptr<async::Clock> clock_;
  async::TaskGroup tasks_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<blobs::Blobs> blobs_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<secrets::Secrets> secrets_;
  std::unique_ptr<ledger::Ledger> ledger_;
  std::unique_ptr<logs::Logs> logs_;
  std::unique_ptr<conversations::Conversations> conversations_;
  std::unique_ptr<sandbox::Launcher> launcher_;
  std::unique_ptr<fleet::Fleet> fleet_;
  std::unique_ptr<control::Control> control_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
};

// Puts what a module's open() gave into its place.
template <class T>
Result<> take(std::unique_ptr<T>& place, Result<std::unique_ptr<T>> opened, std::string_view what) {
  if (!opened) return std::move(opened).error().during(what);
  place = std::move(*opened);
  return ok;
}

Result<> Platform::build() {
  auto locked = lock(config_.data);
  if (!locked) return std::move(locked).error();
  lock_ = std::move(*locked);
  if (auto opened = key_file_.open(config_.key_file); !opened) return opened;
  for (auto step : {&Platform::open_state, &Platform::open_fleet, &Platform::open_doors}) {
    const auto done = (this->*step)();
    if (!done) return done;
  }
  tasks_.spawn(key_file_.refresh_every_second(clock_.get()));
  control_->begin_collecting();
  return ok;
}

Result<> Platform::open_state() {
  const fs::path dir = config_.data;
  const ledger::Options of_ledger{.dir = dir / "ledger"};
  std::vector<store::Migration> migrations;
  for (const auto& list : {catalog::migrations(), secrets::migrations(), ledger::migrations()}) {
    migrations.insert(migrations.end(), list.begin(), list.end());
  }
  Result<> done = take(store_, store::open(dir / "dormouse.db", migrations), "the database");
  if (done) done = take(blobs_, blobs::open({.dir = dir / "blobs"}), "the blobs");
  if (done) done = take(catalog_, catalog::open(store_.get()), "the catalog");
  if (done) done = take(secrets_, secrets::open(store_.get(), config_.master_key), "the secrets");
  if (done)
    done =
        take(ledger_, ledger::open(executor_, clock_.get(), store_.get(), of_ledger), "the ledger");
  if (done)
    done = take(logs_, logs::open(executor_, clock_.get(), {.dir = dir / "logs"}), "the logs");
  if (done) {
    auto opened = conversations::open(executor_, clock_.get(), config_.conversations);
    done = take(conversations_, std::move(opened), "the conversations");
  }
  return done;
}

Result<> Platform::open_fleet() {
  const auto launching = take(
      launcher_, sandbox::linux_launcher(executor_, clock_.get(), sandboxes()), "the sandboxes");
  if (!launching) return launching;
  fleet_ = fleet::make_fleet(executor_,
                             {.clock = clock_.get(),
                              .launcher = launcher_.get(),
                              .blobs = blobs_.get(),
                              .ledger = ledger_.get(),
                              .logs = logs_.get(),
                              .secrets = secrets_.get(),
                              .conversations = conversations_.get()},
                             {.runtimes = config_.runtimes,
                              .node = config_.node,
                              .rates = config_.rates,
                              .node_name = config_.node_name,
                              .dir = fs::path(config_.data) / "prepare",
                              .output_bytes_per_second = config_.output_bytes_per_second});
  for (const auto& [name, function] : catalog_->all()) fleet_->serve(name, catalog_->active(name));
  return ok;
}

control::NodeFacts Platform::facts() const {
  return {.name = config_.node_name,
          .version = DORMOUSE_VERSION,
          .data_dir = config_.data,
          .listen = cli::listen_text(config_.host, config_.port),
          .currency = config_.currency,
          .started = clock_->wall(),
          .resources = config_.node};
}

gateway::Hosts Platform::known_hosts() const {
  gateway::Hosts hosts{.known = config_.hosts};
  hosts.known.push_back(config_.host);
  hosts.any_address = config_.host == "0.0.0.0" || config_.host == "::";
  return hosts;
}

sandbox::LauncherOptions Platform::sandboxes() const {
  return {.state_dir = fs::path(config_.data) / "sandboxes",
          .oci_runtime = config_.oci_runtime,
          .resolvers = config_.resolvers};
}

Result<> Platform::open_doors() {
  control_ = std::make_unique<control::Control>(
      control::Deps{.executor = executor_,
                    .clock = clock_.get(),
                    .catalog = catalog_.get(),
                    .secrets = secrets_.get(),
                    .blobs = blobs_.get(),
                    .fleet = fleet_.get(),
                    .ledger = ledger_.get(),
                    .logs = logs_.get(),
                    .conversations = conversations_.get(),
                    .keys = key_file_.keys(),
                    .hosts = known_hosts(),
                    .node = facts(),
                    .examine = [this] { return sandbox::examine_host(sandboxes()); },
                    .unpack = control::unpack_apart,
                    .lambda_network = config_.lambda_network});
  gateway_ = std::make_unique<gateway::Gateway>(
      gateway::Parts{.clock = clock_.get(),
                     .catalog = catalog_.get(),
                     .fleet = fleet_.get(),
                     .api = control_.get(),
                     .lambda_api = control_->lambda_api(),
                     .logs = logs_.get(),
                     .keys = key_file_.keys(),
                     .hosts = known_hosts(),
                     .http_counters = [this] { return server_->counters(); },
                     .version = DORMOUSE_VERSION});
  return take(server_,
              http::listen(executor_, clock_.get(), gateway_.get(),
                           {.host = config_.host,
                            .port = config_.port,
                            .limits = config_.limits,
                            .refusal = gateway::refusal_response}),
              "the HTTP server");
}

asio::awaitable<void> Platform::stop() {
  control_->close_streams();
  co_await server_->stop(drain_grace);
  co_await control_->stop();
  co_await fleet_->drain(Duration(0));
  tasks_.cancel();
  co_await tasks_.join();
  co_await conversations_->close();
  const auto closed = co_await ledger_->close();
  if (!closed) spdlog::error("the ledger: {}", closed.error().message);
}

asio::awaitable<void> run(asio::io_context* io, asio::signal_set* signals, Platform* platform) {
  boost::system::error_code failure;
  int number = SIGHUP;
  while (number == SIGHUP && !failure) {  // Which asks for no end, but that files be read again.
    std::tie(failure, number) = co_await signals->async_wait(asio::as_tuple(asio::use_awaitable));
    platform->read_keys();
  }
  if (!failure) spdlog::info("signal {}: draining", number);
  co_await platform->stop();
  io->stop();
}

}  // namespace

Result<> serve(const cli::DaemonConfig& config) {
  prepare_process();
  asio::io_context io(1);
  async::take_turns(async::short_slice, 0);
  // Before anything is there that would be left behind: a signal from now on waits for run().
  asio::signal_set signals(io, SIGTERM, SIGINT, SIGHUP);
  auto platform = std::make_unique<Platform>(io, config);
  if (auto built = platform->build(); !built) return built;
  spdlog::info("dormouse {} serves http://{} from {}", DORMOUSE_VERSION,
               cli::listen_text(config.host, platform->port()), config.data);
  if (config.key_file.empty()) {
    spdlog::info(
        "no key is set, so only this machine is listened to; see `dormouse key new --help`");
  }
  async::TaskGroup group(io.get_executor());
  group.spawn(run(&io, &signals, platform.get()));
  io.run();
  platform.reset();  // Its folders and mounts.
  spdlog::info("stopped; nothing is left running");
  return ok;
}

}  // namespace dormouse::daemon
