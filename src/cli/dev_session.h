// One sitting of `dormouse dev`: what is saved is deployed, what is typed is called, what the
// function prints is shown.
//
// Threads    One loop, on the thread of run(), owns the state and prints. What waits for the
//            platform, which is a deploy, the log and each call, has a thread and posts what comes
//            of it to the loop; so none waits for another, but calls for a deploy that is under
//            way. All threads are gone when run() returns.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "cli/api.h"
#include "cli/own_daemon.h"
#include "cli/shell.h"
#include "cli/typed_line.h"
#include "cli/watcher.h"

namespace dormouse::cli {

struct DevOptions {
  std::string what;       // The folder or file.
  std::string name;       // What the function is called here.
  std::string in_folder;  // What the folder called it when this began; "": `name` was asked for.
  bool replay = false;    // Each new revision gets the last call again.
};

class DevSession {
 public:
  // `daemon` is nullptr if the platform is somebody else's.
  DevSession(Shell*, DevOptions, std::unique_ptr<Watcher>, OwnDaemon* daemon);
  ~DevSession();
  DevSession(const DevSession&) = delete;
  DevSession& operator=(const DevSession&) = delete;

  Exit run();  // Once.

 private:
  struct Deployer;
  struct Deployed;

  void end(Exit);
  void status(const std::string& message);  // On standard error.
  void answer(std::string_view text);       // On standard output, line by line.

  void await_input();
  void await_changes();
  void await_signal();
  bool read_lines(int input);  // False at its end.
  void take_line(std::string_view line);
  void obey(std::string_view line);
  void notice_changes();
  void announce_changes();

  void go_on();  // With the next deploy, or the lines that waited for it.
  void deploy();
  void look_at_name();  // On the thread that deploys.
  void deployed(const Deployed&);
  void served(const Deployed&);
  void call(const TypedLine&);
  void called(const Result<http::ClientResponse>&, std::chrono::steady_clock::time_point began);
  void show_receipt();
  void follow_log(std::int64_t after);
  bool has_shown(Shell*, const std::string& line);

  // Runs `work` on a thread, with a Shell of its own that is interrupted at the end.
  void begin(std::function<void(Shell*)> work);
  void tell(std::function<void()> what);  // The loop, from any thread.

  Shell* const shell_;
  const DevOptions options_;
  std::string in_folder_;  // The name; of the thread that deploys, of which there is one at a time.
  const std::unique_ptr<Watcher> watcher_;
  OwnDaemon* const daemon_;
  asio::io_context io_;
  asio::posix::stream_descriptor input_, changes_;
  asio::signal_set signals_;
  asio::steady_timer quiet_;  // Until an editor's save is over.
  int interrupt_ = -1;        // Readable once it ends.
  bool running_ = true;
  Exit exit_ = Exit::ok;

  std::string typed_;              // The beginning of a line.
  std::set<std::string> pending_;  // Changes whose save may not be over.
  std::chrono::steady_clock::time_point pending_since_;
  std::optional<std::set<std::string>> to_deploy_;
  std::unique_ptr<Deployer> deployer_;  // The deploying thread's, while there is one.
  bool deploying_ = false;
  bool serves_ = false;  // There is a revision.
  bool serves_http_ = false;
  std::deque<std::string> typed_lines_;  // Still to be obeyed; empty: the last call again.
  std::optional<TypedLine> last_call_;
  std::string last_invocation_;
  std::list<std::jthread> threads_;
};

}  // namespace dormouse::cli
