// A Launcher for tests, without any wall: the program is a function on a thread of this process, or
// a plain child process (the tests' `probe`), at the other end of the same socket.
//
// A function gets the inner end of the socket and must return when that end is closed. A child
// process is <root>/<argv[0]> with the Spec's arguments and environment, and nothing else of it.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "sandbox/end_signal.h"
#include "sandbox/sandbox.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

// What the test asks for and what it then sees. Shared with the sandboxes, which it outlives.
struct FakeLauncherState {
  std::function<void(int socket)> function;  // Empty: child processes.
  std::vector<Error> failures;               // What the next launches fail with, in this order.
  std::function<Result<wire::Descriptor>(std::uint16_t port)> connect;  // Empty: nothing listens.
  std::function<void(wire::Descriptor output)> printer;  // Given what each program prints to.
  bool die_at_start = false;             // Programs that end before their first word.
  Usage usage{Duration(1000), 1 << 20};  // What every sandbox says it used.
  Pages pages;
  std::vector<std::string> inherited_files;  // Of every fork.
  // What a program has, each time that somebody looks at its forks; afterwards nothing.
  std::deque<std::vector<std::string>> threads;
  std::vector<std::string> processes;  // That it has beside itself.
  std::string memory;                  // Of a process that is forked.
  bool ends_as_looked_at = false;      // The next fork.
  std::string bomb;                    // The name of one that is seen to be one: "fake-1".

  int killed_from_outside = 0;  // So many that end are said to have been killed.
  int ended_as_bombs = 0;
  std::vector<Spec> launched;  // Every one that succeeded.
  std::vector<std::filesystem::path> revealed;
  std::vector<Reach> attached;
  std::optional<Error> attach_fails;
  std::map<std::string, std::vector<Ipv4>> names;  // That resolve() knows.
  int living = 0;
  int killed = 0;
  int slots = 0;                 // There are.
  int admitted = 0;              // Forks, of all that there were.
  int gone_before_admitted = 0;  // So many of the next ones.
};

// Ends when it is killed, as the fleet does once its fork has closed the socket.
class FakeSlot final : public Slot {
 public:
  FakeSlot(const asio::any_io_executor& executor, FakeLauncherState* state, std::string name)
      : state_(state), name_(std::move(name)), end_(std::make_shared<EndSignal>(executor)) {
    int ends[2];
    int pipe_ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK(pipe2(pipe_ends, O_CLOEXEC) == 0);
    socket_ = wire::Descriptor(ends[0]);
    output_ = wire::Descriptor(pipe_ends[0]);
    inner_ = {wire::Descriptor(ends[1]), wire::Descriptor(pipe_ends[1])};
    fcntl(socket_.number(), F_SETFL, O_NONBLOCK);
    fcntl(output_.number(), F_SETFL, O_NONBLOCK);
    ++state_->slots;
  }
  ~FakeSlot() override {
    kill();
    --state_->slots;
  }

  const std::string& name() const override { return name_; }
  int socket() const override { return socket_.number(); }
  int output() const override { return output_.number(); }
  const std::string& root() const override { return name_; }
  std::uint32_t uid() const override { return 2001; }
  Inner take_inner() override { return std::move(inner_); }
  asio::awaitable<Result<>> admit(pid_t) override {
    if (state_->gone_before_admitted > 0) {
      --state_->gone_before_admitted;
      co_return Error{Code::not_found, "it has ended"};
    }
    is_admitted_ = true;
    ++state_->admitted;
    co_return ok;
  }
  asio::awaitable<Result<>> reveal(std::filesystem::path) override { co_return not_here(); }
  asio::awaitable<Result<>> attach(Reach) override { co_return not_here(); }
  asio::awaitable<Result<std::unique_ptr<Slot>>> make_slot(Limits) override {
    co_return not_here();
  }
  asio::awaitable<Result<wire::Descriptor>> connect(std::uint16_t) override {
    co_return not_here();
  }
  Result<> set_limits(const Limits&) override { return ok; }
  asio::awaitable<Ended> wait() override {
    if (!is_admitted_) kill();  // It never came.
    return EndSignal::wait(end_);
  }
  void kill() override {
    shutdown(socket_.number(), SHUT_RDWR);
    end_->give({exit_, 128 + SIGKILL});
  }
  Usage usage() const override { return state_->usage; }
  std::uint64_t memory_bytes() const override { return state_->usage.memory_bytes_peak; }
  void reset_peak() override {}
  std::optional<Duration> mind_forks(TimePoint) override {
    if (name_ != state_->bomb) return std::chrono::milliseconds(10);
    exit_ = Exit::processes_limit;
    kill();
    return std::nullopt;
  }
  asio::awaitable<Pages> pages() const override { co_return state_->pages; }
  std::vector<std::string> inherited_files() const override { return state_->inherited_files; }
  asio::awaitable<Result<LeftBehind>> left_behind() const override {
    if (std::exchange(state_->ends_as_looked_at, false)) {
      co_return Error{Code::not_found, "it has ended"};
    }
    LeftBehind now{.threads = {}, .processes = state_->processes};
    if (state_->threads.empty()) co_return now;
    now.threads = std::move(state_->threads.front());
    state_->threads.pop_front();
    co_return now;
  }
  asio::awaitable<Result<std::vector<std::size_t>>> values_inherited(
      std::vector<std::string> values) const override {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (state_->memory.contains(values[i])) found.push_back(i);
    }
    co_return found;
  }

 private:
  static Error not_here() { return {Code::unsupported, "a slot cannot do this"}; }

  FakeLauncherState* const state_;
  const std::string name_;
  std::shared_ptr<EndSignal> end_;
  wire::Descriptor socket_, output_;
  Inner inner_;
  Exit exit_ = Exit::killed;
  bool is_admitted_ = false;
};

class FakeSandbox final : public Sandbox {
 public:
  FakeSandbox(asio::any_io_executor executor, FakeLauncherState* state, std::string name)
      : executor_(executor),
        state_(state),
        name_(std::move(name)),
        end_(std::make_shared<EndSignal>(executor)),
        watched_(std::make_shared<asio::posix::stream_descriptor>(executor)) {
    ++state_->living;
  }

  ~FakeSandbox() override {
    kill();
    if (thread_.joinable()) thread_.join();
    if (pid_ > 0 && !end_->given()) waitpid(pid_, nullptr, 0);
    watched_->close();
    end_->give({Exit::killed, 128 + SIGKILL});
    --state_->living;
  }

  Result<> start(const Spec& spec) {
    int ends[2];
    int pipe_ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
        pipe2(pipe_ends, O_CLOEXEC) != 0) {
      return system_error(Code::unavailable, "making a socket");
    }
    socket_ = wire::Descriptor(ends[0]);
    inner_ = wire::Descriptor(ends[1]);
    output_ = wire::Descriptor(pipe_ends[0]);
    wire::Descriptor inner_output(pipe_ends[1]);
    if (state_->printer) {
      state_->printer(wire::Descriptor(fcntl(pipe_ends[1], F_DUPFD_CLOEXEC, 3)));
    }
    fcntl(socket_.number(), F_SETFL, O_NONBLOCK);
    fcntl(output_.number(), F_SETFL, O_NONBLOCK);
    auto started = state_->function ? start_thread() : start_child(spec, inner_output.number());
    if (started) watch();
    return started;
  }

  const std::string& name() const override { return name_; }
  int socket() const override { return socket_.number(); }
  int output() const override { return output_.number(); }

  asio::awaitable<Result<>> reveal(std::filesystem::path tree) override {
    state_->revealed.push_back(std::move(tree));
    co_return ok;
  }
  asio::awaitable<Result<>> attach(Reach reach) override {
    if (state_->attach_fails) co_return *state_->attach_fails;
    state_->attached.push_back(std::move(reach));
    co_return ok;
  }
  Result<> set_limits(const Limits&) override { return ok; }
  asio::awaitable<Ended> wait() override { return EndSignal::wait(end_); }
  asio::awaitable<Result<std::unique_ptr<Slot>>> make_slot(Limits) override {
    co_return std::make_unique<FakeSlot>(executor_, state_,
                                         name_ + "/slot-" + std::to_string(++slots_made_));
  }

  asio::awaitable<Result<wire::Descriptor>> connect(std::uint16_t port) override {
    if (!state_->connect) co_return Error{Code::conflict, "nothing listens"};
    co_return state_->connect(port);
  }

  void kill() override {
    if (end_->given() || kill_asked_) return;
    kill_asked_ = true;
    ++state_->killed;
    if (pid_ > 0) ::kill(-pid_, SIGKILL);
    if (state_->function) shutdown(inner_.number(), SHUT_RDWR);
  }
  Usage usage() const override { return state_->usage; }
  std::uint64_t memory_bytes() const override { return state_->usage.memory_bytes_peak; }
  void reset_peak() override {}
  std::optional<Duration> mind_forks(TimePoint) override {
    if (name_ != state_->bomb) return std::chrono::milliseconds(10);
    ++state_->ended_as_bombs;
    kill();
    return std::nullopt;
  }
  asio::awaitable<Pages> pages() const override { co_return state_->pages; }

 private:
  Result<> start_thread() {
    const int done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (done < 0) return system_error(Code::unavailable, "eventfd");
    const int copy = fcntl(done, F_DUPFD_CLOEXEC, 0);
    watched_->assign(done);
    auto function = state_->die_at_start ? [](int) {} : state_->function;
    thread_ = std::thread([function, socket = inner_.number(), copy] {
      function(socket);
      shutdown(socket, SHUT_RDWR);
      eventfd_write(copy, 1);
      close(copy);
    });
    return ok;
  }

  Result<> start_child(const Spec& spec, int output) {
    std::string program = spec.root.string() + "/" + spec.argv.at(0);
    if (state_->die_at_start) program = "/bin/false";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    posix_spawn_file_actions_adddup2(&actions, inner_.number(), 3);
    posix_spawn_file_actions_addclosefrom_np(&actions, 4);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t signals;
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    std::vector<char*> argv = words(spec.argv);
    std::vector<char*> env = words(spec.env);
    const int error =
        posix_spawn(&pid_, program.c_str(), &actions, &attributes, argv.data(), env.data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return system_error(Code::unavailable, "starting " + program, error);
    inner_ = wire::Descriptor();  // So that the program's end is our end of file.
    watched_->assign(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    return ok;
  }

  static std::vector<char*> words(const std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
    list.push_back(nullptr);
    return list;
  }

  void watch() {
    auto ended = [watched = watched_, end = end_, pid = pid_,
                  state = state_](boost::system::error_code failed) {
      if (failed) return;
      int status = 0;
      if (std::exchange(state->ended_as_bombs, 0) > 0) {
        return end->give({Exit::processes_limit, 137});
      }
      if (pid <= 0 && state->killed_from_outside-- > 0) return end->give({Exit::killed, 137});
      if (pid <= 0) return end->give({Exit::returned, 0});
      waitpid(pid, &status, 0);
      if (WIFEXITED(status)) return end->give({Exit::returned, WEXITSTATUS(status)});
      const int number = WTERMSIG(status);
      end->give({number == SIGKILL ? Exit::killed : Exit::crashed, 128 + number});
    };
    watched_->async_wait(asio::posix::stream_descriptor::wait_read, std::move(ended));
  }

  const asio::any_io_executor executor_;
  FakeLauncherState* const state_;
  const std::string name_;
  int slots_made_ = 0;
  std::shared_ptr<EndSignal> end_;
  std::shared_ptr<asio::posix::stream_descriptor> watched_;  // A pidfd or an eventfd.
  wire::Descriptor socket_;
  wire::Descriptor inner_;
  wire::Descriptor output_;
  std::thread thread_;
  pid_t pid_ = 0;
  bool kill_asked_ = false;
};

class FakeLauncher final : public Launcher {
 public:
  explicit FakeLauncher(asio::any_io_executor executor, std::function<void(int)> function = {})
      : executor_(std::move(executor)) {
    state.function = std::move(function);
  }

  asio::awaitable<Result<std::unique_ptr<Sandbox>>> launch(Spec spec) override {
    if (!state.failures.empty()) {
      const Error failure = state.failures.front();
      state.failures.erase(state.failures.begin());
      co_return failure;
    }
    auto name = "fake-" + std::to_string(++count_);
    auto sandbox = std::make_unique<FakeSandbox>(executor_, &state, std::move(name));
    if (auto started = sandbox->start(spec); !started) co_return started.error();
    state.launched.push_back(std::move(spec));
    co_return std::move(sandbox);
  }

  asio::awaitable<Result<std::vector<Ipv4>>> resolve(std::string name) override {
    const auto found = state.names.find(name);
    if (found != state.names.end()) co_return found->second;
    co_return Error{Code::invalid_argument, "Name or service not known"};
  }

  FakeLauncherState state;

 private:
  asio::any_io_executor executor_;
  int count_ = 0;
};

}  // namespace dormouse::sandbox
