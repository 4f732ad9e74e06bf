#include "cli/dev_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <ostream>

#include "cli/answers.h"
#include "cli/bundle.h"
#include "cli/delivery.h"
#include "cli/print.h"
#include "cli/receipt.h"
#include "cli/request_body.h"

namespace dormouse::cli {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Asks = TypedLine::Asks;

// An editor's save is several changes: it is over when nothing came for so long.
constexpr auto quiet = 50ms, quiet_after = 500ms;
constexpr std::size_t threads_max = 64;

std::string milliseconds_since(Clock::time_point began) {
  return readable_ms(std::chrono::duration<double, std::milli>(Clock::now() - began).count());
}

// The files that changed and are deployed, or were: not what an editor makes beside one.
std::set<std::string> that_count(const std::set<std::string>& changed,
                                 const std::set<std::string>& files) {
  std::set<std::string> counting;
  for (const std::string& name : changed) {
    if (name == "." || files.contains(name)) counting.insert(name);
    const std::string folder = name + "/";
    for (auto it = files.lower_bound(folder); it != files.end() && it->starts_with(folder); ++it) {
      counting.insert(*it);
    }
  }
  return counting;
}

std::string text_of(const std::set<std::string>& changed) {
  if (changed.contains(".")) return "many files changed";
  if (changed.size() == 1) return *changed.begin() + " changed";
  return std::to_string(changed.size()) + " files changed";
}

bool is_readable(const std::string& text) {
  return !text.contains('\0') && gateway::valid_utf8(text) == text;
}

// Deploys here are many and small: only what the code printed is shown, and what takes its time.
class DevSteps final : public Steps {
 public:
  explicit DevSteps(std::function<void(std::string)> show) : show_(std::move(show)) {}
  void say(const std::string& step) override {
    if (step.starts_with("preparing")) show_(step);
  }
  void printed(const std::string& line) override { show_("  | " + line); }
  void advance(const std::string& step, std::uint64_t, std::uint64_t all) override {
    constexpr std::uint64_t large = 64 << 20;
    if (all < large || step == shown_) return;
    shown_ = step;
    show_(step + "  " + readable_size(all));
  }

 private:
  const std::function<void(std::string)> show_;
  std::string shown_;
};

// What came of making a call.
Result<http::ClientResponse> response_to(Shell* shell, const std::string& name,
                                         const TypedLine& line) {
  const auto body =
      line.file.empty() ? Result<RequestBody>(body_of_text(line.body)) : body_of_file(line.file);
  if (!body) return body.error();
  http::ClientRequest request;
  request.method = line.method;
  request.target = "/f/" + escaped(name) + line.path;
  if (!body->bytes.empty()) request.fields.add("Content-Type", body->type);
  request.body = body->bytes;
  request.timeout = 25h;  // Longer than any function may take: the node's own deadline ends it.
  return Api(shell).send(std::move(request));
}

bool waited_a_moment(int interrupt) {
  pollfd polled{.fd = interrupt, .events = POLLIN, .revents = 0};
  return poll(&polled, 1, 200) == 0;
}

// Gives each line that is printed from here on: what an earlier sitting's calls printed is over.
void follow(Shell* shell, const std::string& name, const std::function<void(std::string)>& show) {
  Api api(shell);
  const std::string target = "/api/v1/functions/" + escaped(name) + "/logs";
  std::int64_t after = 0;
  const auto skip = [&](const json::value& line) {
    after = count_at(line, "sequence");
    return true;
  };
  const auto give = [&](const json::value& line) {
    const std::string text = text_at(line, "text");
    const bool is_frame =
        text.starts_with("START RequestId: ") || text.starts_with("END RequestId: ");
    if (!is_frame) show("  | " + text);
    return skip(line);
  };
  (void)api.stream("GET", target + "?lines=1", "", skip);
  do {
    const std::string from = "?lines=10000&follow=true&after=" + std::to_string(after);
    const auto ended = api.stream("GET", target + from, "", give);
    if (!ended && ended.error().code == Code::cancelled) return;
  } while (waited_a_moment(shell->interrupt));
}

}  // namespace

// What one deploy after another needs; the loop leaves it alone while one is under way.
struct DevSession::Deployer {
  Deployer(Shell its, std::function<void(std::string)> show)
      : shell(std::move(its)), steps(std::move(show)) {}
  Shell shell;
  DevSteps steps;
  Api api{&shell};
  Delivery delivery{&api, &steps};
  std::set<std::string> files;  // Of the last one.
};

struct DevSession::Deployed {
  Result<json::value> last;
  Clock::time_point began;
};

DevSession::DevSession(Shell* shell, DevOptions options, std::unique_ptr<Watcher> watcher,
                       OwnDaemon* daemon)
    : shell_(shell),
      options_(std::move(options)),
      watcher_(std::move(watcher)),
      daemon_(daemon),
      input_(io_),
      changes_(io_),
      signals_(io_, SIGINT, SIGTERM, SIGCHLD),
      quiet_(io_),
      interrupt_(eventfd(0, EFD_CLOEXEC)) {
  CHECK(interrupt_ >= 0);
  Shell its = *shell_;
  its.interrupt = interrupt_;
  deployer_ = std::make_unique<Deployer>(
      std::move(its), [this](const std::string& line) { tell([this, line] { status(line); }); });
}

DevSession::~DevSession() {
  close(interrupt_);
}

Exit DevSession::run() {
  await_signal();
  await_changes();
  await_input();
  to_deploy_.emplace();
  go_on();
  while (running_) io_.run_one();
  const std::uint64_t one = 1;
  CHECK(write(interrupt_, &one, sizeof(one)) == sizeof(one));
  for (std::jthread& thread : threads_) thread.join();
  return exit_;
}

void DevSession::end(Exit exit) {
  running_ = false;
  exit_ = exit;
}

void DevSession::begin(std::function<void(Shell*)> work) {
  threads_.emplace_back();
  const auto place = std::prev(threads_.end());
  *place = std::jthread([this, place, work = std::move(work)] {
    Shell its = *shell_;
    its.interrupt = interrupt_;
    work(&its);
    tell([this, place] { threads_.erase(place); });
  });
}

void DevSession::tell(std::function<void()> what) {
  asio::post(io_, std::move(what));
}

void DevSession::status(const std::string& message) {
  *shell_->err << harmless(message) << "\n" << std::flush;
}

void DevSession::answer(std::string_view text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    *shell_->out << harmless(text.substr(begin, end - begin)) << "\n";
    begin = end + 1;
  }
  *shell_->out << std::flush;
}

// ---- lines, changes, signals ----

void DevSession::await_input() {
  if (!input_.is_open()) {
    boost::system::error_code failure;
    input_.assign(dup(STDIN_FILENO), failure);
    while (failure && running_ && read_lines()) {  // A plain file cannot be waited for, and ends.
    }
    if (failure) return;
  }
  input_.async_wait(asio::posix::stream_descriptor::wait_read, [this](auto failure) {
    if (!failure && read_lines()) await_input();
  });
}

bool DevSession::read_lines() {
  constexpr std::size_t line_bytes_max = 16 << 20;
  std::array<char, 64 * 1024> bytes;
  const ssize_t got = read(STDIN_FILENO, bytes.data(), bytes.size());
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) {
    if (shell_->typed) end(Exit::ok);
    return false;  // Input that is no terminal may end before the work does.
  }
  // What was saved before a line was typed is there for its call.
  notice_changes();
  announce_changes();
  typed_.append(bytes.data(), static_cast<std::size_t>(got));
  for (auto at = typed_.find('\n'); at != typed_.npos && running_; at = typed_.find('\n')) {
    const std::string line = typed_.substr(0, at);
    typed_.erase(0, at + 1);
    take_line(line);
  }
  if (typed_.size() > line_bytes_max) typed_.clear();
  return true;
}

void DevSession::take_line(std::string_view text) {
  auto line = parse_typed(text, serves_http_);
  if (!line) return status("dormouse: " + line.error().message);
  if (line->asks == Asks::help) return answer(typed_help(serves_http_));
  if (line->asks == Asks::quit) return end(Exit::ok);
  if (line->asks == Asks::call) last_call_ = *line;
  if (line->asks == Asks::again) {
    if (!last_call_) return status("nothing was called yet; ? says what can be typed");
    line = *last_call_;
  }
  to_call_.push_back(*std::move(line));
  go_on();
}

void DevSession::await_changes() {
  if (!changes_.is_open()) changes_.assign(dup(watcher_->descriptor()));
  changes_.async_wait(asio::posix::stream_descriptor::wait_read, [this](auto failure) {
    if (failure) return;
    notice_changes();
    await_changes();
  });
}

void DevSession::notice_changes() {
  auto changed = watcher_->take();
  if (!changed) {
    status("dormouse: " + changed.error().message);
    return end(Exit::failed);
  }
  if (changed->empty()) return;
  if (pending_.empty()) pending_since_ = Clock::now();
  pending_.merge(*changed);
  quiet_.expires_at(std::min(Clock::now() + quiet, pending_since_ + quiet_after));
  quiet_.async_wait([this](auto failure) {
    if (!failure) announce_changes();
  });
}

void DevSession::announce_changes() {
  if (pending_.empty()) return;
  if (!to_deploy_) to_deploy_.emplace();
  to_deploy_->merge(std::exchange(pending_, {}));
  go_on();
}

void DevSession::await_signal() {
  signals_.async_wait([this](auto failure, int number) {
    if (failure) return;
    if (number != SIGCHLD) return end(Exit::ok);
    if (daemon_ != nullptr && daemon_->has_ended()) {
      status("dormouse: the platform ended:");
      answer(daemon_->why());
      return end(Exit::failed);
    }
    await_signal();
  });
}

void DevSession::go_on() {
  if (deploying_ || !running_) return;
  if (to_deploy_) return deploy();
  while (!to_call_.empty()) {
    const TypedLine line = std::move(to_call_.front());
    to_call_.pop_front();
    if (!serves_) {
      status("dormouse: there is no revision to call yet");
    } else if (threads_.size() >= threads_max) {
      status("dormouse: too many calls at once; wait for one of them");
    } else {
      line.asks == Asks::receipt ? show_receipt() : call(line);
    }
  }
}

// ---- deploys ----

void DevSession::deploy() {
  deploying_ = true;
  begin([this, changed = *std::exchange(to_deploy_, std::nullopt)](Shell*) {
    const Clock::time_point began = Clock::now();
    const auto bundle = bundle_of(options_.what, options_.name);
    std::set<std::string> files = std::exchange(deployer_->files, {"dormouse.yaml"});
    for (const LocalFile& file : bundle ? bundle->files : std::vector<LocalFile>()) {
      deployer_->files.insert(file.path);
    }
    files.insert(deployer_->files.begin(), deployer_->files.end());
    const std::set<std::string> counting = bundle ? that_count(changed, files) : changed;
    if (counting.empty() && !changed.empty()) {
      return tell([this] {
        deploying_ = false;
        go_on();
      });
    }
    if (!counting.empty()) tell([this, text = text_of(counting)] { status(text); });
    Deployed done{bundle ? deployer_->delivery.deliver(*bundle) : bundle.error(), began};
    tell([this, done = std::move(done)] { deployed(done); });
  });
}

void DevSession::deployed(const Deployed& it) {
  deploying_ = false;
  if (it.last) {
    served(it);
  } else {
    status("dormouse: " + it.last.error().message);
    status(serves_ ? "what served before still does" : "save a change to try again");
  }
  go_on();
}

void DevSession::served(const Deployed& it) {
  const bool first = !std::exchange(serves_, true);
  const bool unchanged = flag_at(*it.last, "unchanged");
  serves_http_ = text_at(*it.last, "revision.manifest.runtime") == "web";
  status(text_at(*it.last, "revision.label") +
         (unchanged ? " serves already" : " serves, after " + milliseconds_since(it.began)));
  if (first) {
    status(shell_->url + "/f/" + options_.name + (serves_http_ ? "/" : "") +
           "   (? says what can be typed here)");
    follow_log();
  }
  if (options_.replay && !first && !unchanged && last_call_) to_call_.push_back(*last_call_);
}

// ---- calls, and what they print ----

void DevSession::call(const TypedLine& line) {
  begin([this, line](Shell* shell) {
    const Clock::time_point began = Clock::now();
    auto response = response_to(shell, options_.name, line);
    tell([this, began, response = std::move(response)] { called(response, began); });
  });
}

void DevSession::called(const Result<http::ClientResponse>& response, Clock::time_point began) {
  if (!response) return status("dormouse: " + response.error().message);
  if (is_readable(response->body)) answer(response->body);
  status(std::to_string(response->status) + "  " +
         std::string(response->fields.find("Content-Type").value_or("no content type")) + "  " +
         readable_size(response->body.size()) + "  " + milliseconds_since(began));
  last_invocation_ = response->fields.find("Dormouse-Invocation").value_or("");
}

void DevSession::show_receipt() {
  if (last_invocation_.empty()) return status("nothing was called yet");
  begin([this, id = last_invocation_](Shell* shell) {
    const auto receipt = Api(shell).get("/api/v1/invocations/" + escaped(id));
    tell([this, receipt] {
      receipt ? answer(receipts_text(*receipt)) : status("dormouse: " + receipt.error().message);
    });
  });
}

void DevSession::follow_log() {
  begin([this](Shell* shell) {
    follow(shell, options_.name,
           [this](const std::string& line) { tell([this, line] { status(line); }); });
  });
}

}  // namespace dormouse::cli
