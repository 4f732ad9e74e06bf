// The two files of one function's log: lines go to `NAME.new.log`; when it is full it becomes
// `NAME.old.log` and the one before is gone. All of it blocks and belongs to the logs' thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "logs/logs.h"

namespace dormouse::logs {

class Pair {
 public:
  Pair(std::filesystem::path dir, std::string name, std::uint64_t file_bytes_max);
  ~Pair();
  Pair(Pair&&) noexcept;
  Pair& operator=(Pair&&) = delete;

  void append(std::string_view lines);  // Any number, whole. What cannot be written is lost.
  Part read(const Wanted&) const;
  void remove();

 private:
  bool open_newer();
  bool write(std::string_view lines);
  void turn();
  std::filesystem::path newer() const { return dir_ / (name_ + ".new.log"); }
  std::filesystem::path older() const { return dir_ / (name_ + ".old.log"); }

  std::filesystem::path dir_;
  std::string name_;
  std::uint64_t file_bytes_max_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

// What a restart must know: the last sequence number of each function, by its files' ends. A line
// that was cut off by a crash is cut away.
struct Known {
  std::string name;
  std::uint64_t last = 0;
};
Result<std::vector<Known>> known_in(const std::filesystem::path& dir);

}  // namespace dormouse::logs
