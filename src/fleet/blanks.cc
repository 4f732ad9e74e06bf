#include "fleet/blanks.h"

#include <spdlog/spdlog.h>

#include "wire/messages.h"

namespace dormouse::fleet {

Blanks::Blanks(asio::any_io_executor executor, async::Clock* clock, sandbox::Launcher* launcher,
               async::TaskGroup* tasks, const std::map<std::string, Runtime>* runtimes)
    : executor_(std::move(executor)),
      clock_(clock),
      launcher_(launcher),
      tasks_(tasks),
      runtimes_(runtimes) {
}

void Blanks::fill() {
  for (const auto& [name, _] : *runtimes_) fill(name, {});
}

void Blanks::fill(const std::string& name, Duration pause) {
  const auto found = runtimes_->find(name);
  if (found == runtimes_->end()) return;
  const Runtime& runtime = found->second;
  Pool& pool = pools_[name];
  if (closed_ || (!pool.is_used && !runtime.waits_unused)) return;
  const auto have = static_cast<std::int32_t>(pool.ready.size()) + pool.starting;
  for (std::int32_t i = have; i < runtime.blanks; ++i) {
    ++pool.starting;
    tasks_->spawn(add(name, pause));
  }
}

void Blanks::expect(const std::string& runtime) {
  if (!std::exchange(pools_[runtime].is_used, true)) fill();
}

asio::awaitable<void> Blanks::add(std::string runtime, Duration pause) {
  if (pause > Duration{}) co_await clock_->sleep_until(clock_->now() + pause);
  if (closed_) co_return;
  auto making = make(runtime, {});
  auto made = co_await std::move(making);
  if (!made && !closed_) {
    spdlog::warn("no blank sandbox for runtime {}: {}", runtime, made.error().message);
    co_await clock_->sleep_until(clock_->now() + retry_after);
  }
  Pool& pool = pools_[runtime];
  --pool.starting;
  if (made && !closed_) pool.ready.push_back(std::move(*made));
  if (!made) fill();
}

asio::awaitable<Result<Blanks::Taken>> Blanks::take(std::string runtime) {
  Pool& pool = pools_[runtime];
  while (!pool.ready.empty()) {
    auto worker = std::move(pool.ready.front());
    pool.ready.pop_front();
    // A blank one says nothing after its hello: whatever there is to read is its end.
    if (!worker->is_silent()) continue;
    fill(runtime, runtimes_->at(runtime).left_alone);
    co_return Taken{std::move(worker), true};
  }
  auto making = make(runtime, {});
  auto made = co_await std::move(making);
  if (!made) co_return std::move(made).error();
  fill(runtime, runtimes_->at(runtime).left_alone);
  co_return Taken{std::move(*made), false};
}

asio::awaitable<Result<std::unique_ptr<Worker>>> Blanks::make(std::string runtime,
                                                              std::vector<sandbox::Bind> binds,
                                                              std::uint64_t file_bytes_max) {
  const auto found = runtimes_->find(runtime);
  if (found == runtimes_->end()) {
    co_return Error{Code::unavailable, "this node has no runtime " + runtime + " any more"};
  }
  sandbox::Spec spec;
  spec.root = found->second.root;
  spec.argv = found->second.argv;
  spec.env = found->second.env;
  spec.binds = found->second.binds;
  spec.devices = found->second.devices;
  spec.forks = found->second.forks;
  spec.loopback = found->second.loopback;
  spec.binds.insert(spec.binds.end(), binds.begin(), binds.end());
  spec.limits.memory_bytes_max = memory_bytes_max;
  spec.limits.cpu_millicores_max = 1000;
  spec.limits.file_bytes_max = file_bytes_max;
  auto launching = launcher_->launch(std::move(spec));
  auto sandbox = co_await std::move(launching);
  if (!sandbox) co_return std::move(sandbox).error().during("starting a sandbox");
  auto worker = std::make_unique<Worker>(executor_, std::move(*sandbox));
  auto saying = worker->expect(clock_, wire::Type::hello, clock_->now() + hello_timeout);
  const auto said = co_await std::move(saying);
  if (!said) {
    const Worker::Took took = worker->take_output();
    const std::string last =
        took.lines ? " (it printed: " + std::string(took.last_line()) + ")" : "";
    co_return Error{said.error().code,
                    "waiting for a worker's hello: " + said.error().message + last};
  }
  const auto hello = wire::decode_hello(*said);
  if (!hello) co_return hello.error();
  if (hello->version != wire::version) {
    co_return Error{Code::unavailable, "runtime " + runtime + " speaks wire version " +
                                           std::to_string(hello->version) + ", not " +
                                           std::to_string(wire::version)};
  }
  co_return worker;
}

std::map<std::string, std::int32_t> Blanks::waiting() const {
  std::map<std::string, std::int32_t> counts;
  for (const auto& [name, pool] : pools_) {
    counts[name] = static_cast<std::int32_t>(pool.ready.size());
  }
  return counts;
}

void Blanks::clear() {
  closed_ = true;
  for (auto& [name, pool] : pools_) pool.ready.clear();
}

}  // namespace dormouse::fleet
