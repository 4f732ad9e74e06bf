// A platform for one project, as `dormouse dev` starts it: a child process that serves on loopback
// from a folder of its own, and ends with whoever started it, also if that was killed.
//
// One thread. The child writes its log to daemon.log in its folder.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"

namespace dormouse::cli {

struct OwnDaemonOptions {
  std::filesystem::path data;
  std::string listen;  // ADDRESS:PORT; empty: the first free port of 8090 to 8099 on loopback.
  std::string config;  // A configuration file; empty: none.
};

class OwnDaemon {
 public:
  // Before any thread is started. The folder is made if need be.
  static Result<std::unique_ptr<OwnDaemon>> start(const OwnDaemonOptions&);
  ~OwnDaemon();  // Stops it, and waits for its end.
  OwnDaemon(const OwnDaemon&) = delete;
  OwnDaemon& operator=(const OwnDaemon&) = delete;

  const std::string& url() const { return url_; }
  bool has_ended();         // Of itself.
  std::string why() const;  // The end of its log.

 private:
  OwnDaemon(pid_t pid, std::string url, std::filesystem::path log)
      : pid_(pid), url_(std::move(url)), log_(std::move(log)) {}

  pid_t pid_;  // 0 once it was waited for.
  const std::string url_;
  const std::filesystem::path log_;
};

}  // namespace dormouse::cli
