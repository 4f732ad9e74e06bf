#include "conversations/conversations.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "async/one_shot.h"
#include "async/thread.h"
#include "conversations/page.h"

namespace dormouse::conversations {
namespace {

namespace fs = std::filesystem;
using SharedDescriptor = std::shared_ptr<const wire::Descriptor>;

constexpr std::string_view unfinished = ".new";  // Of no state: a point is in no name.
constexpr std::size_t on_the_way_max = 16;
constexpr std::uint64_t bytes_on_the_way_max = std::uint64_t{1} << 30;

// ---- files ----

std::optional<State> open_state(const fs::path& file, const Key& key) {
  State state{wire::Descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW))};
  struct stat found{};
  const bool is_file = state.file && fstat(state.file.number(), &found) == 0 &&
                       S_ISREG(found.st_mode) && found.st_size >= std::int64_t{page_bytes};
  if (!is_file) return std::nullopt;
  state.offset = page_bytes;
  state.size = static_cast<std::uint64_t>(found.st_size) - page_bytes;
  std::string page(page_bytes, '\0');
  const auto read = pread(state.file.number(), page.data(), page.size(), 0);
  if (read != std::ssize(page) || page != first_page(key, state.size)) return std::nullopt;
  return state;
}

Result<> copy(const wire::Descriptor& from, std::uint64_t size, const wire::Descriptor& to) {
  off_t at = 0;
  while (static_cast<std::uint64_t>(at) < size) {
    const auto rest = static_cast<std::size_t>(size) - static_cast<std::size_t>(at);
    const ssize_t sent = sendfile(to.number(), from.number(), &at, rest);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return system_error(Code::unavailable, "writing");
    if (sent == 0) return Error{Code::unavailable, "it is shorter than was said"};
  }
  return ok;
}

Result<> write_whole(const fs::path& file, const Key& key, const wire::Descriptor& from,
                     std::uint64_t size) {
  wire::Descriptor to(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!to) return system_error(Code::unavailable, "creating");
  const std::string page = first_page(key, size);
  if (write(to.number(), page.data(), page.size()) != std::ssize(page)) {
    return system_error(Code::unavailable, "writing");
  }
  auto copied = copy(from, size, to);
  if (copied && fdatasync(to.number()) != 0) {
    copied = system_error(Code::unavailable, "syncing");
  }
  return copied;
}

Result<> make_folder(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) return Error{Code::unavailable, folder.string() + ": " + failure.message()};
  return ok;
}

// What was there before goes with a failure: it is not the conversation's any more.
Result<> replace(const fs::path& place, const Key& key, const wire::Descriptor& from,
                 std::uint64_t size) {
  Result<> done = make_folder(place.parent_path());
  const fs::path beside = place.string() + std::string(unfinished);
  if (done) done = write_whole(beside, key, from, size);
  if (done && rename(beside.c_str(), place.c_str()) != 0) {
    done = system_error(Code::unavailable, "renaming");
  }
  if (done) return done;
  unlink(beside.c_str());
  unlink(place.c_str());
  return done;
}

void remove_file(const fs::path& place) {
  unlink(place.c_str());
  rmdir(place.parent_path().c_str());  // If it was the last one.
}

WallTime used_last(const fs::path& file) {
  struct stat found{};
  if (stat(file.c_str(), &found) != 0) return {};
  constexpr std::int64_t ms_per_second = 1000, ns_per_ms = 1'000'000;
  return {found.st_mtim.tv_sec * ms_per_second + found.st_mtim.tv_nsec / ns_per_ms};
}

// ---- what an earlier process kept ----

std::vector<fs::path> inside(const fs::path& folder) {
  std::error_code failure;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure)) {
    found.push_back(it->path());
  }
  return found;
}

void find_states(const Revision& revision, const fs::path& folder, std::vector<Entry>& found) {
  for (const fs::path& file : inside(folder)) {
    const auto name = name_of_file(file.filename().string());
    const Key key{revision, name.value_or("")};
    const auto state = name && is_name(*name) ? open_state(file, key) : std::nullopt;
    if (state) {
      found.push_back({key, state->size, used_last(file)});
    } else {
      unlink(file.c_str());
    }
  }
}

std::vector<Entry> find_all(const fs::path& dir) {
  std::vector<Entry> found;
  for (const fs::path& tenant : inside(dir)) {
    for (const fs::path& function : inside(tenant)) {
      for (const fs::path& digest : inside(function)) {
        const Revision revision{tenant.filename(), function.filename(), digest.filename()};
        find_states(revision, digest, found);
      }
    }
  }
  std::ranges::sort(found, {}, [](const Entry& each) { return each.used.unix_ms; });
  return found;
}

// ---- the whole ----

class OnDisk final : public Conversations {
 public:
  OnDisk(asio::any_io_executor executor, async::Clock* clock, Options options)
      : executor_(std::move(executor)),
        clock_(clock),
        options_(std::move(options)),
        shelf_(options_.bytes_max, options_.count_max) {
    for (const Entry& each : find_all(options_.dir)) {
      remove_files(shelf_.make_room(each.key, each.bytes));
      shelf_.put(each.key, each.bytes, each.used);
    }
  }

  asio::awaitable<std::optional<State>> find(Key key) override {
    if (shelf_.find(key) == nullptr) co_return std::nullopt;
    shelf_.touch(key, clock_->wall());
    auto work = [file = options_.dir / place_of(key), key] {
      utimensat(AT_FDCWD, file.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);  // Used now.
      return open_state(file, key);
    };
    // What is being written is read after that; the file has what was before it.
    auto opening =
        writing_.contains(key) ? writer_.run(std::move(work)) : reader_.run(std::move(work));
    co_return co_await std::move(opening);
  }

  void keep(Key key, SharedDescriptor from, std::uint64_t size) override {
    const bool fits = size <= size_max() && on_the_way_ < on_the_way_max &&
                      (on_the_way_ == 0 || bytes_on_the_way_ + size <= bytes_on_the_way_max);
    if (!fits) {
      spdlog::warn(
          "a conversation of {} is not kept: {} bytes are too many, or too many others "
          "are on the way",
          key.revision.function, size);
      return;
    }
    ++on_the_way_;
    ++writing_[key];
    bytes_on_the_way_ += size;
    remove_files(shelf_.make_room(key, size));
    shelf_.put(key, size, clock_->wall());
    // Given at once: what is to be removed after it comes after it.
    writer_.give([self = std::weak_ptr(self_), executor = executor_,
                  place = options_.dir / place_of(key), key, from = std::move(from), size,
                  turn = shelf_.find(key)->turn] {
      auto done = replace(place, key, *from, size);
      asio::post(executor, [self, key, turn, size, done = std::move(done)] {
        if (const auto alive = self.lock()) (*alive)->written(key, turn, size, done);
      });
    });
  }

  std::uint64_t size_max() const override {
    return std::min(options_.size_max, options_.bytes_max);
  }

  std::vector<Entry> of(std::string_view tenant, std::string_view function) const override {
    return shelf_.of(tenant, function);
  }

  bool drop(std::string_view tenant, std::string_view function, std::string_view name) override {
    std::vector<Key> gone;
    for (const Entry& each : shelf_.of(tenant, function)) {
      if (each.key.name == name) gone.push_back(each.key);
    }
    take_away(gone);
    return !gone.empty();
  }

  void drop_function(std::string_view tenant, std::string_view function) override {
    std::vector<Key> gone;
    for (const Entry& each : shelf_.of(tenant, function)) gone.push_back(each.key);
    take_away(gone);
  }

  void retain(const std::set<Revision>& revisions) override {
    std::vector<Key> gone;
    for (const Entry& each : shelf_.all()) {
      if (!revisions.contains(each.key.revision)) gone.push_back(each.key);
    }
    take_away(gone);
  }

  asio::awaitable<void> close() override {
    if (on_the_way_ == 0) co_return;
    closed_ = std::make_shared<async::OneShot<bool>>();
    const auto closed = closed_;
    auto waiting = closed->wait();
    co_await std::move(waiting);
    closed_.reset();
  }

 private:
  void written(const Key& key, std::uint64_t turn, std::uint64_t size, const Result<>& done) {
    bytes_on_the_way_ -= size;
    if (--writing_[key] == 0) writing_.erase(key);
    if (!done) {
      spdlog::warn("a conversation of {} is lost: {}", key.revision.function, done.error().message);
      const Entry* const entry = shelf_.find(key);
      if (entry != nullptr && entry->turn == turn) shelf_.erase(key);
    }
    if (--on_the_way_ == 0 && closed_) closed_->set(true);
  }

  void take_away(const std::vector<Key>& keys) {
    for (const Key& each : keys) shelf_.erase(each);
    remove_files(keys);
  }

  // After what is being written to their places.
  void remove_files(const std::vector<Key>& keys) {
    for (const Key& each : keys) {
      writer_.give([place = options_.dir / place_of(each)] { remove_file(place); });
    }
  }

  const asio::any_io_executor executor_;
  async::Clock* const clock_;
  const Options options_;
  Shelf shelf_;
  std::size_t on_the_way_ = 0;
  std::map<Key, int> writing_;  // How often each of them is on the way.
  std::uint64_t bytes_on_the_way_ = 0;
  std::shared_ptr<async::OneShot<bool>> closed_;  // Somebody waits for the last to be written.
  const std::shared_ptr<OnDisk*> self_ = std::make_shared<OnDisk*>(this);  // As long as it lives.
  async::Thread reader_{"conv-reading"}, writer_{"conv-writing"};
};

}  // namespace

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= name_bytes_max &&
         std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

Result<std::unique_ptr<Conversations>> open(asio::any_io_executor executor, async::Clock* clock,
                                            Options options) {
  const auto made = make_folder(options.dir);
  if (!made) return made.error();
  if (chmod(options.dir.c_str(), 0700) != 0) {
    return system_error(Code::unavailable, "closing " + options.dir.string() + " to others");
  }
  return std::make_unique<OnDisk>(std::move(executor), clock, std::move(options));
}

}  // namespace dormouse::conversations
