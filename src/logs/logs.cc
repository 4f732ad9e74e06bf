#include "logs/logs.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>
#include <map>

#include "async/gathered.h"
#include "async/thread.h"
#include "logs/line.h"
#include "logs/pair.h"

namespace dormouse::logs {
namespace {

constexpr std::size_t files_open_max = 256;
constexpr std::size_t bytes_beside = 96;  // A line has about so many beside its text.
constexpr int steps_back = 5;

// The files, as the logs' thread has them.
class Files {
 public:
  explicit Files(Options options) : options_(std::move(options)) {}

  Pair& of(const std::string& function) {
    const auto known = open_.find(function);
    if (known != open_.end()) return known->second;
    if (open_.size() >= files_open_max) open_.erase(open_.begin());
    Pair pair(options_.dir, function, options_.bytes_max / 2);
    return open_.emplace(function, std::move(pair)).first->second;
  }
  void remove(const std::string& function) {
    of(function).remove();
    open_.erase(function);
  }

 private:
  Options options_;
  std::map<std::string, Pair> open_;
};

class FileLogs final : public Logs {
 public:
  FileLogs(asio::any_io_executor executor, async::Clock* clock, Options options)
      : executor_(std::move(executor)), clock_(clock), options_(options), files_(options) {}

  Result<> load() {
    std::error_code failed;
    std::filesystem::create_directories(options_.dir, failed);
    // Closed to other users of the host, also if it was there.
    if (!failed) permissions(options_.dir, std::filesystem::perms::owner_all, failed);
    if (failed) {
      return system_error(Code::unavailable, "making " + options_.dir.string(), failed.value());
    }
    const auto known = known_in(options_.dir);
    if (!known) return known.error();
    for (const Known& one : *known) functions_[one.name].last = one.last;
    return ok;
  }

  void append(std::string_view name, Line lines) override {
    Function& function = functions_[std::string(name)];
    const auto count = static_cast<std::uint64_t>(1 + std::ranges::count(lines.text, '\n'));
    const std::size_t bytes = lines.text.size() + count * bytes_beside;
    lines.sequence = function.last + 1;
    function.last += count;
    if (pending_bytes_.load() + bytes > options_.pending_bytes_max) {
      function.dropped += count;
      return;
    }
    const std::uint64_t dropped = std::exchange(function.dropped, 0);
    if (dropped > 0) ++function.last;  // For the line that tells of it.
    pending_bytes_ += bytes;
    write(name, function, {std::move(lines), dropped, bytes});
    for (asio::steady_timer* alarm : function.waiting) alarm->cancel();
  }

  // What was appended before is written before, or will never be.
  asio::awaitable<Result<Part>> read(std::string function, Wanted wanted) override {
    const std::uint64_t until = last(function);
    return thread_.run([this, function = std::move(function), wanted = std::move(wanted), until] {
      Part part = files_.of(function).read(wanted);
      const bool is_whole = wanted.after == 0 || part.lines.size() < wanted.lines_max;
      if (is_whole) part.until = std::max(part.until, until);
      return Result<Part>(std::move(part));
    });
  }

  std::uint64_t last(std::string_view function) const override {
    const auto known = functions_.find(function);
    return known == functions_.end() ? 0 : known->second.last;
  }

  asio::awaitable<void> wait(std::string name, std::uint64_t sequence, TimePoint until) override {
    using namespace asio::experimental::awaitable_operators;
    while (last(name) <= sequence && clock_->now() < until) {
      asio::steady_timer line_came(executor_, asio::steady_timer::time_point::max());
      const Waits waits(&functions_[name].waiting, &line_came);
      auto woken = line_came.async_wait(asio::as_tuple(asio::use_awaitable));
      co_await (std::move(woken) || clock_->sleep_until(until));
    }
  }

  // The numbers go on, so that whoever follows misses nothing when the function comes back.
  void remove(std::string_view name) override {
    const auto known = functions_.find(name);
    if (known == functions_.end()) return;
    thread_.give([this, function = std::string(name)] { files_.remove(function); });
  }

 private:
  using Alarms = std::list<asio::steady_timer*>;
  struct Unwritten {
    Line lines;
    std::uint64_t dropped = 0;  // Before them.
    std::size_t bytes = 0;      // What they count for as pending.
  };
  using Queue = async::Gathered<Unwritten>;
  struct Function {
    std::uint64_t last = 0;
    std::uint64_t dropped = 0;  // Since the last line that was written.
    Alarms waiting;
    std::shared_ptr<Queue> queue = std::make_shared<Queue>();
  };
  // One wait() in its function's list, until it goes.
  class Waits {
   public:
    Waits(Alarms* alarms, asio::steady_timer* alarm)
        : alarms_(alarms), place_(alarms->insert(alarms->end(), alarm)) {}
    ~Waits() { alarms_->erase(place_); }
    Waits(const Waits&) = delete;
    Waits& operator=(const Waits&) = delete;

   private:
    Alarms* alarms_;
    Alarms::iterator place_;
  };

  static Line gap_before(Line line, std::uint64_t dropped) {
    line.invocation.clear();
    line.text = "[" + std::to_string(dropped) + " lines were dropped here]";
    return line;
  }

  // What comes while the thread writes is written with its next piece of work.
  void write(std::string_view name, Function& function, Unwritten lines) {
    if (!function.queue->add(std::move(lines))) return;
    thread_.give([this, queue = function.queue, function = std::string(name)] {
      for (const Unwritten& each : queue->take()) {
        files_.of(function).append(encoded(each));
        pending_bytes_ -= each.bytes;
        async::computed(async::steps_in_a_turn);  // Some 20 µs: time for somebody else's turn.
      }
    });
  }

  std::string encoded(Unwritten each) const {
    std::string text;
    if (each.dropped > 0) {
      text = encode(gap_before(each.lines, each.dropped), options_.line_bytes_max);
      ++each.lines.sequence;
    }
    return text += encode_all(each.lines, options_.line_bytes_max);
  }

  asio::any_io_executor executor_;
  async::Clock* clock_;
  Options options_;
  std::map<std::string, Function, std::less<>> functions_;
  std::atomic<std::size_t> pending_bytes_ = 0;
  Files files_;
  async::Thread thread_{"logging", steps_back};  // Joins first, having written all.
};

}  // namespace

Result<std::unique_ptr<Logs>> open(asio::any_io_executor executor, async::Clock* clock,
                                   Options options) {
  auto logs = std::make_unique<FileLogs>(std::move(executor), clock, std::move(options));
  auto loaded = logs->load();
  if (!loaded) return std::move(loaded).error().during("opening the logs");
  return logs;
}

}  // namespace dormouse::logs
