#include "sandbox/linux_sandbox.h"

#include <utility>

#include "sandbox/files.h"
#include "sandbox/inner_network.h"
#include "sandbox/linux_slot.h"
#include "sandbox/rootfs.h"
#include "sandbox/watch.h"

namespace dormouse::sandbox {
namespace {

// On the router's thread.
Result<> attach_network(const Watch& watch, std::size_t number, Reach reach) {
  Workshop& workshop = *watch.workshop;
  if (reach.resolvers.empty()) reach.resolvers = workshop.resolvers;
  if (reach.resolvers.empty()) reach.resolvers = public_resolvers();
  const std::filesystem::path folder = workshop.estate.folder(watch.name);
  Result<> done = write_text(folder / hosts_file, hosts_text(reach));
  if (done) done = write_text(folder / resolv_file, resolv_text(reach));
  if (done) done = workshop.router.attach(watch.launched.process, number, reach);
  return done;
}

class LinuxSandbox final : public Sandbox {
 public:
  LinuxSandbox(std::shared_ptr<Watch> watch, std::size_t uid_range, std::uint32_t host_uid)
      : watch_(std::move(watch)),
        uid_range_(uid_range),
        host_uid_(host_uid),
        limits_(watch_->launched.limits) {}

  ~LinuxSandbox() override {
    auto it = std::make_shared<Launched>(watch_->close());
    auto* workshop = watch_->workshop;
    const bool reaped = watch_->status.has_value();
    workshop->removing.give(
        [workshop, it, reaped, name = watch_->name, range = uid_range_, attached = attached_] {
          if (!reaped) wait_for(it->process, dying_max);
          (void)remove_sandbox(workshop->estate, name, it->companions);
          if (!attached) {
            workshop->uid_ranges_taken[range] = false;
            return;
          }
          // Its network has the range's number.
          workshop->networking.give([workshop, range] {
            workshop->router.detach(range);
            workshop->uid_ranges_taken[range] = false;
          });
        });
  }

  const std::string& name() const override { return watch_->name; }
  int socket() const override { return watch_->launched.socket.number(); }
  int output() const override { return watch_->launched.output.number(); }

  asio::awaitable<Result<>> reveal(std::filesystem::path tree) override {
    if (revealed_) co_return Error{Code::conflict, "a sandbox reveals one tree in its life"};
    revealed_ = true;
    auto* workshop = watch_->workshop;
    auto work = [stage = workshop->estate.stage(watch_->name), tree = std::move(tree)] {
      return show_on_stage(tree, stage);
    };
    const auto shown = co_await workshop->revealing.run(std::move(work));
    revealed_ = shown.has_value();
    co_return shown;
  }

  asio::awaitable<Result<>> attach(Reach reach) override {
    if (!watch_->launched.has_network_files) {
      co_return Error{Code::unsupported,
                      "no sandbox of this runtime, or none under runsc, can have one"};
    }
    if (std::exchange(attached_, true)) {
      co_return Error{Code::conflict, "a sandbox gets one network in its life"};
    }
    auto work = [watch = watch_, number = uid_range_, reach = std::move(reach)]() mutable {
      return attach_network(*watch, number, std::move(reach));
    };
    co_return co_await watch_->workshop->networking.run(std::move(work));
  }

  Result<> set_limits(const Limits& limits) override {
    limits_ = limits;
    return watch_->launched.group->limit(on_the_host(limits, watch_->workshop->estate.kind));
  }
  asio::awaitable<Ended> wait() override { return EndSignal::wait(watch_->end); }
  void kill() override { watch_->kill_all(); }
  Usage usage() const override {
    return watch_->final_usage ? *watch_->final_usage : watch_->usage();
  }
  std::uint64_t memory_bytes() const override {
    return watch_->final_usage ? 0 : watch_->launched.group->memory_bytes();
  }
  Duration cpu_time() const override {
    return watch_->final_usage ? watch_->final_usage->cpu_time : watch_->cpu_time();
  }
  void reset_peak() override { watch_->launched.group->reset_peak(); }
  std::optional<Duration> mind_forks(TimePoint now) override { return watch_->mind_forks(now); }
  asio::awaitable<Pages> pages() const override { return watch_->pages("/oci"); }

  asio::awaitable<Result<wire::Descriptor>> connect(std::uint16_t port) override {
    if (watch_->workshop->estate.kind == RuntimeKind::runsc) {
      co_return Error{Code::unsupported, "under runsc no program can be spoken to over HTTP"};
    }
    co_return co_await connect_inside(
        watch_->process.get_executor(), &watch_->workshop->connecting,
        wire::Descriptor(copy_of(watch_->launched.process.handle.number())), port);
  }

  asio::awaitable<Result<std::unique_ptr<Slot>>> make_slot(Limits limits) override {
    if (!watch_->launched.forks) co_return Error{Code::unsupported, "this sandbox does not fork"};
    const SlotSpec spec{.number = ++slots_made_,
                        .host_uid_first = host_uid_,
                        .limits = limits,
                        .program_limits = limits_};
    auto work = [watch = watch_, spec] {
      auto made = make_slot_of(*watch, spec);
      return std::make_shared<Result<MadeSlot>>(std::move(made));
    };
    const auto made = co_await watch_->workshop->slotting.run(std::move(work));
    if (!*made) co_return made->error();
    co_return linux_slot(watch_, spec, std::move(**made));
  }

 private:
  std::shared_ptr<Watch> watch_;
  const std::size_t uid_range_;
  const std::uint32_t host_uid_;
  Limits limits_;
  std::uint32_t slots_made_ = 0;
  bool revealed_ = false;
  bool attached_ = false;
};

}  // namespace

std::unique_ptr<Sandbox> linux_sandbox(asio::any_io_executor executor, Workshop* workshop,
                                       std::string name, UidRange range, Launched launched) {
  auto watch =
      std::make_shared<Watch>(std::move(executor), workshop, std::move(name), std::move(launched));
  watch->begin();
  return std::make_unique<LinuxSandbox>(std::move(watch), range.number, range.first);
}

}  // namespace dormouse::sandbox
