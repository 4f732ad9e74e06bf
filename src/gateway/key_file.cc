#include "gateway/key_file.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <utility>

namespace dormouse::gateway {

Result<> KeyFile::open(std::string path) {
  path_ = std::move(path);
  stamp_ = stamp_of(path_);  // Before it is read: what changes meanwhile is seen the next time.
  auto keys = Keys::read(path_);
  if (!keys) return std::move(keys).error();
  keys_ = *std::move(keys);
  return ok;
}

void KeyFile::refresh() {
  if (path_.empty()) return;
  Stamp stamp = stamp_of(path_);
  if (stamp == stamp_) return;
  stamp_ = std::move(stamp);
  auto keys = Keys::read(path_);
  if (!keys) {
    spdlog::error("the keys stay as they were: {}", keys.error().message);
    return;
  }
  keys_ = *std::move(keys);
  spdlog::info("the key file {} has changed, and was read again", path_);
}

asio::awaitable<void> KeyFile::refresh_every_second(async::Clock* clock) {
  while (!path_.empty()) {
    co_await clock->sleep_until(clock->now() + period);
    refresh();
  }
}

KeyFile::Stamp KeyFile::stamp_of(const std::string& path) {
  struct stat found{};
  if (::stat(path.c_str(), &found) != 0) return std::nullopt;
  const auto nanoseconds = [](const timespec& time) {
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return std::tuple(std::uint64_t{found.st_ino}, std::int64_t{found.st_size},
                    nanoseconds(found.st_mtim), nanoseconds(found.st_ctim));
}

}  // namespace dormouse::gateway
