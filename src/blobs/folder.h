// The blobs' folder as its thread sees it: everything here blocks and runs on that one thread.
#pragma once

#include <list>
#include <map>
#include <memory>

#include "blobs/blobs.h"
#include "blobs/file.h"
#include "hash/sha256.h"

namespace dormouse::blobs {

class Folder {
 public:
  explicit Folder(Options options) : options_(std::move(options)) {}
  Result<> make();

  std::filesystem::path path(const Digest&) const;
  std::optional<std::uint64_t> size(const Digest&) const;

  Result<std::uint64_t> uploaded(const Digest&);
  Result<std::uint64_t> append(const Digest&, std::uint64_t offset, std::string_view chunk,
                               bool last);
  Result<Digest> adopt(const std::filesystem::path& file, std::uint64_t bytes_max);
  Result<std::filesystem::path> lay_out(const std::string& name,
                                        const std::vector<std::pair<std::string, Digest>>& files);
  Result<std::uint64_t> collect(const std::set<Digest>& live, const std::set<std::string>& trees,
                                Duration stale);
  Result<std::uint64_t> discard(const std::set<Digest>&, const std::set<std::string>& trees);

 private:
  // An upload that is being added to. Its hash so far is kept here; after a restart, or when too
  // many are open, it is made again from what the partial file holds.
  struct Upload {
    File file;
    hash::Hasher hasher;
    std::uint64_t size = 0;
  };
  static constexpr std::size_t uploads_open_max = 32;

  std::filesystem::path upload_path(const Digest&) const;
  std::filesystem::path uploads() const { return options_.dir / "uploads"; }
  std::filesystem::path trees() const { return options_.dir / "trees"; }

  Result<Upload*> resume(const Digest&);
  Result<> add(Upload&, const Digest&, std::string_view chunk);
  Result<std::uint64_t> finish(Upload&, const Digest&);
  Result<> publish_as(const Digest&, const File&, const std::filesystem::path& from);
  void drop(const Digest&);
  Result<Digest> copy_in(const File& from, const std::filesystem::path& to,
                         std::uint64_t bytes_max);
  Result<> fill(const std::filesystem::path& tree,
                const std::vector<std::pair<std::string, Digest>>& files);

  Options options_;
  std::map<Digest, Upload> open_;
  std::set<Digest> adopted_;     // Since the last discard(): whoever adopted may not know it yet.
  std::optional<Error> broken_;  // Until a restart: a blob is here of which nobody knows.
};

}  // namespace dormouse::blobs
