#include "cli/dev_session.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <filesystem>
#include <future>
#include <ostream>

#include "base/utf8.h"
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
  return !text.contains('\0') && valid_utf8(text) == text;
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
  std::error_code failure;
  if (!line.file.empty() && !std::filesystem::is_regular_file(line.file, failure)) {
    return Error{Code::not_found, "there is no file " + line.file};
  }
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

std::string log_target(const std::string& name) {
  return "/api/v1/functions/" + escaped(name) + "/logs";
}

// The number of the last line that there is: what an earlier sitting's calls printed is over.
Result<std::int64_t> end_of_log(Api& api, const std::string& name) {
  std::int64_t last = 0;
  const auto note = [&](const json::value& line) {
    last = count_at(line, "sequence");
    return true;
  };
  const auto read = api.stream("GET", log_target(name) + "?lines=1", "", note);
  if (!read) return read.error();
  return last;
}

// Gives each line that is printed after `after`, until it is interrupted or the function is gone.
// False from `show` ends it, too.
Result<> follow(Shell* shell, const std::string& name, std::int64_t after,
                const std::function<bool(std::string)>& show) {
  Api api(shell);
  const auto give = [&](const json::value& line) {
    after = count_at(line, "sequence");
    const std::string text = text_at(line, "text");
    const bool is_frame =
        text.starts_with("START RequestId: ") || text.starts_with("END RequestId: ");
    return is_frame || show("  | " + text);
  };
  do {
    const std::string from = "?lines=10000&follow=true&after=" + std::to_string(after);
    const auto ended = api.stream("GET", log_target(name) + from, "", give);
    if (!ended && ended.error().code == Code::cancelled) return ok;
    if (!ended && ended.error().code != Code::unavailable) return ended;
  } while (waited_a_moment(shell->interrupt));
  return ok;
}

// Standard input as a description of our own: waiting for it makes it non-blocking, which nobody
// else who has this terminal must notice. Of a socket there is only the one.
int own_input() {
  struct stat facts{};
  const bool is_socket = fstat(STDIN_FILENO, &facts) == 0 && S_ISSOCK(facts.st_mode);
  const int opened = is_socket ? -1 : open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  return opened >= 0 ? opened : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
}

}  // namespace

// What one deploy after another needs; the loop leaves it alone while one is under way.
struct DevSession::Deployer {
  Deployer(Shell its, const std::string& what, std::function<void(std::string)> show)
      : shell(std::move(its)),
        steps(std::move(show)),
        is_one_file(!std::filesystem::is_directory(what)) {}

  std::set<std::string> learn(const Bundle&, const std::set<std::string>& changed);
  std::set<std::string> fail(const std::set<std::string>& changed);

  Shell shell;
  DevSteps steps;
  Api api{&shell};
  Delivery delivery{&api, &steps};
  const bool is_one_file;       // A zip's paths are not those that are watched.
  std::set<std::string> files;  // Of the last one that there was.
  bool all_count = true;        // Any change may mend what kept the last one from being.
};

struct DevSession::Deployed {
  Result<json::value> last;
  Clock::time_point began;
  std::int64_t log_end = 0;  // Before its first call.
};

// The changes that count, of a bundle that could be made; and of one that could not.
std::set<std::string> DevSession::Deployer::learn(const Bundle& bundle,
                                                  const std::set<std::string>& changed) {
  std::set<std::string> before = std::exchange(files, {"dormouse.yaml"});
  for (const LocalFile& file : bundle.files) files.insert(file.path);
  before.insert(files.begin(), files.end());
  return std::exchange(all_count, is_one_file) ? changed : that_count(changed, before);
}

std::set<std::string> DevSession::Deployer::fail(const std::set<std::string>& changed) {
  all_count = true;
  return changed;
}

DevSession::DevSession(Shell* shell, DevOptions options, std::unique_ptr<Watcher> watcher,
                       OwnDaemon* daemon)
    : shell_(shell),
      options_(std::move(options)),
      in_folder_(options_.in_folder),
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
      std::move(its), options_.what,
      [this](const std::string& line) { tell([this, line] { status(line); }); });
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
    const int own = own_input();
    boost::system::error_code failure;
    input_.assign(own, failure);
    while (failure && running_ && read_lines(own)) {  // A plain file cannot be waited for: it ends.
    }
    if (failure) {
      close(own);
      return;
    }
  }
  input_.async_wait(asio::posix::stream_descriptor::wait_read, [this](auto failure) {
    if (!failure && read_lines(input_.native_handle())) await_input();
  });
}

bool DevSession::read_lines(int input) {
  constexpr std::size_t line_bytes_max = 16 << 20;
  std::array<char, 64 * 1024> bytes;
  const ssize_t got = read(input, bytes.data(), bytes.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
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
  const auto line = parse_typed(text, serves_http_);
  if (line && line->asks == Asks::help) return answer(typed_help(serves_http_));
  if (line && line->asks == Asks::quit) return end(Exit::ok);
  typed_lines_.emplace_back(text);  // What it means may depend on a deploy that is under way.
  go_on();
}

void DevSession::obey(std::string_view text) {
  auto line = parse_typed(text, serves_http_);
  if (!serves_) return status("dormouse: there is no revision to call yet");
  if (!line) return status("dormouse: " + line.error().message);
  if (line->asks == Asks::call) last_call_ = *line;
  if (line->asks == Asks::again) {
    if (!last_call_) return status("nothing was called yet; ? says what can be typed");
    line = *last_call_;
  }
  if (threads_.size() >= threads_max) {
    return status("dormouse: too many calls at once; wait for one of them");
  }
  line->asks == Asks::receipt ? show_receipt() : call(*line);
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
  while (!typed_lines_.empty() && running_) {
    const std::string line = std::move(typed_lines_.front());
    typed_lines_.pop_front();
    obey(line);
  }
}

// ---- deploys ----

void DevSession::deploy() {
  deploying_ = true;
  begin([this, changed = *std::exchange(to_deploy_, std::nullopt)](Shell*) {
    const Clock::time_point began = Clock::now();
    const auto bundle = bundle_of(options_.what, options_.name);
    const std::set<std::string> counting =
        bundle ? deployer_->learn(*bundle, changed) : deployer_->fail(changed);
    if (counting.empty() && !changed.empty()) {
      return tell([this] {
        deploying_ = false;
        go_on();
      });
    }
    if (!counting.empty()) tell([this, text = text_of(counting)] { status(text); });
    if (changed.contains("dormouse.yaml")) look_at_name();
    Deployed done{bundle ? deployer_->delivery.deliver(*bundle) : bundle.error(), began};
    if (done.last) done.log_end = end_of_log(deployer_->api, options_.name).value_or(0);
    tell([this, done = std::move(done)] { deployed(done); });
  });
}

// A function of another name is another function, which nobody has called yet.
void DevSession::look_at_name() {
  if (in_folder_.empty()) return;
  const auto bundle = bundle_of(options_.what, "");
  if (!bundle || bundle->name == std::exchange(in_folder_, bundle->name)) return;
  tell([this, named = bundle->name] {
    status("dormouse.yaml calls it " + named + " now; this goes on with " + options_.name +
           " until `dormouse dev` is started again");
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
    follow_log(it.log_end);
  }
  if (options_.replay && !first && !unchanged && last_call_) typed_lines_.emplace_back();
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

void DevSession::follow_log(std::int64_t after) {
  begin([this, after](Shell* shell) {
    const auto show = [this, shell](const std::string& line) { return has_shown(shell, line); };
    const auto ended = follow(shell, options_.name, after, show);
    if (!ended) tell([this, ended] { status("dormouse: its log: " + ended.error().message); });
  });
}

// On the log's thread, a line at a time: a function that floods its log waits for the terminal.
bool DevSession::has_shown(Shell* shell, const std::string& line) {
  auto promise = std::make_shared<std::promise<void>>();
  const auto shown = promise->get_future();
  tell([this, line, promise] {
    status(line);
    promise->set_value();
  });
  while (shown.wait_for(50ms) != std::future_status::ready) {
    pollfd polled{.fd = shell->interrupt, .events = POLLIN, .revents = 0};
    if (poll(&polled, 1, 0) != 0) return false;
  }
  return true;
}

}  // namespace dormouse::cli
