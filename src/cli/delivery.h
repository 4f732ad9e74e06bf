// Brings a bundle to a node: hashes its files, sends those that the node lacks, has it started
// once.
//
// What did not change since the last time, by its size, inode and times, is not read again.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "cli/api.h"
#include "cli/bundle.h"
#include "cli/steps.h"

namespace dormouse::cli {

class Delivery {
 public:
  // Both outlive it. Steps hears what is done, and what the code printed as it was started.
  Delivery(Api* api, Steps* steps) : api_(api), steps_(steps) {}

  // The last line of the deploy's answer: {"revision": …, "unchanged": …}. After a connection that
  // broke, sending goes on where it was.
  Result<json::value> deliver(const Bundle&);

 private:
  struct Known {
    std::string stamp;  // When it was hashed.
    Digest digest;
  };
  struct Part {  // Of a file.
    std::uint64_t offset, size;
    bool last;
  };

  Result<std::vector<Digest>> hash_all(const std::vector<LocalFile>&);
  Result<> upload_missing(const Bundle&, const std::vector<Digest>&);
  Result<> upload(const LocalFile&, const Digest&, std::uint64_t offset);
  Result<> send(const LocalFile&, const Digest&, const Part&);
  Result<std::map<std::string, std::uint64_t>> ask_missing(const std::vector<Digest>&);
  Result<json::value> start(const Bundle&, const std::vector<Digest>&);

  Api* const api_;
  Steps* const steps_;
  std::map<std::filesystem::path, Known> known_;
};

}  // namespace dormouse::cli
