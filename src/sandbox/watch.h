// Watches a process and its control groups until both have come to an end: of a sandbox, or of a
// slot in one. Only this module's files include it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <csignal>
#include <memory>
#include <optional>
#include <string>

#include "sandbox/end_signal.h"
#include "sandbox/fork_storm.h"
#include "sandbox/linux_sandbox.h"
#include "sandbox/pages.h"

namespace dormouse::sandbox {

using asio::posix::stream_descriptor;

inline int copy_of(int descriptor) {
  return fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
}

// What stays until the last callback has run, while the Sandbox itself may be gone.
struct Watch : std::enable_shared_from_this<Watch> {
  Watch(asio::any_io_executor executor, Workshop* the_workshop, std::string its_name, Launched it)
      : workshop(the_workshop),
        name(std::move(its_name)),
        launched(std::move(it)),
        end(std::make_shared<EndSignal>(executor)),
        process(executor, copy_of(launched.process.handle.number())),
        memory(executor, copy_of(launched.group->oom_notice())) {}

  void begin() {
    watch_process();
    watch_memory();
  }

  void watch_process() {
    auto self = shared_from_this();
    process.async_wait(stream_descriptor::wait_read, [self](boost::system::error_code failed) {
      if (!failed && !self->closed) self->process_ended();
    });
  }

  void watch_memory() {
    auto self = shared_from_this();
    const auto kind =
        tells_of_others() ? stream_descriptor::wait_error : stream_descriptor::wait_read;
    memory.async_wait(kind, [self](boost::system::error_code failed) {
      if (!failed && !self->closed) self->memory_noticed();
    });
  }

  // Whichever process the kernel chose, the sandbox is not what it was: all of it goes.
  void memory_noticed() {
    met_memory_limit = read_notice();
    if (met_memory_limit) return kill_all();
    watch_memory();
  }

  bool read_notice() {
    const bool any = launched.group->take_oom_notice();
    return (any && !tells_of_others()) || launched.group->oom_kills() > 0;
  }

  // Of the groups below its own, too.
  bool tells_of_others() const { return workshop->estate.hierarchies.unified; }

  std::optional<Duration> mind_forks(TimePoint now) {
    if (closed || end->given()) return ForkStorm::seldom;
    met_processes_limit = met_processes_limit || is_a_bomb(now);
    if (!met_processes_limit) return storm.look_again();
    kill_all();
    return std::nullopt;
  }

  bool is_a_bomb(TimePoint now) {
    return storm.tells(launched.group->refused_forks(), launched.group->is_crowded(), now) &&
           ForkStorm::is_made_of(launched.group->processes(), launched.group->processes_max());
  }

  void kill_all() {
    if (!end->given()) kill_process(launched.process);
  }

  // Or not: a descriptor that takes the place of one that was closed while an event of its waited
  // to be handed out is given that event by Asio.
  void process_ended() {
    if (!has_ended(launched.process)) return watch_process();
    status = reap(launched.process);
    if (processes_of(workshop->estate.hierarchies, workshop->estate.cgroup(name)).empty()) {
      return finish();
    }
    auto self = shared_from_this();
    workshop->removing.give([self] {
      const Estate& estate = self->workshop->estate;
      const auto killed = kill_group(estate.hierarchies, estate.cgroup(self->name), dying_max);
      if (killed) {
        reap_orphans(*killed);
        wait_until_reaped(*killed);
      }
      asio::post(self->process.get_executor(), [self] {
        if (!self->closed) self->finish();
      });
    });
  }

  void finish() {
    met_memory_limit = met_memory_limit || read_notice();
    final_usage = usage();
    memory.cancel();
    end->give(how());
  }

  Ended how() const {
    const Status it = status.value_or(Status{true, SIGKILL});
    const int number = it.signalled ? 128 + it.number : it.number;
    if (met_memory_limit) return {Exit::memory_limit, number};
    if (met_processes_limit) return {Exit::processes_limit, number};
    if (!it.told) return {Exit::untold, 0};
    if (!it.signalled) return {Exit::returned, number};
    return {it.number == SIGKILL ? Exit::killed : Exit::crashed, number};
  }

  Usage usage() const {
    Usage used = launched.group->usage();
    used.cpu_time = own(used.cpu_time);
    return used;
  }

  Duration cpu_time() const { return own(launched.group->cpu_time()); }

  // Of the processes in the group `part` of this one's, or in all of it.
  asio::awaitable<Pages> pages(std::string part) const {
    auto work = [hierarchies = &workshop->estate.hierarchies,
                 group = workshop->estate.cgroup(name) + part] {
      return pages_of(processes_of(*hierarchies, group));
    };
    return workshop->revealing.run(std::move(work));
  }

  Duration own(Duration of_group) const {
    return std::max(Duration(0), of_group - launched.cpu_spent_starting);
  }

  // Ends the watch; what is left to be taken away. The thread that does so must not hold anything
  // of Asio's, which may be gone by then.
  Launched close() {
    kill_all();
    closed = true;
    process.cancel();
    memory.cancel();
    end->give({Exit::killed, 128 + SIGKILL});
    return std::move(launched);
  }

  Workshop* const workshop;
  const std::string name;
  Launched launched;
  bool closed = false;
  std::shared_ptr<EndSignal> end;
  stream_descriptor process;
  stream_descriptor memory;
  std::optional<Status> status;
  bool met_memory_limit = false;
  bool met_processes_limit = false;
  ForkStorm storm;
  std::optional<Usage> final_usage;
};

}  // namespace dormouse::sandbox
