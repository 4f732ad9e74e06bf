// Content-addressed files in one folder: DIR/sha256/ab/abcd….
//
// A blob is written to a temporary file named by the digest it claims, hashed while written,
// synced, checked, renamed, 0555; only here is a blob's file ever opened for writing. Any of them
// may be executed, in a sandbox alone: what a program is does not depend on who uploaded it from
// where. An upload comes in chunks at an offset and can be resumed after a crash of either side.
//
// Threads    The awaitables may be awaited from any executor and do their work on a thread of
//            their own. size(), claim(), settle(), path() are immediate. But who claims or
//            discards does so on one executor, and one discard() at a time.
// Errors     invalid_argument: the bytes are not what the digest says (they are dropped);
//            conflict: the chunk's offset is not where the upload stands (the message says where);
//            too_large; unavailable: the disk failed or is full. If it fails so that a blob can
//            neither be synced nor taken back, nothing more is taken in until the next start.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/clock.h"
#include "base/digest.h"
#include "base/result.h"

namespace dormouse::blobs {

class Blobs {
 public:
  virtual ~Blobs() = default;
  // nullopt: not here. Whoever asks may count on the blob for another day: see collect().
  virtual std::optional<std::uint64_t> size(const Digest&) const = 0;
  virtual std::filesystem::path path(const Digest&) const = 0;

  // As size(), for who is about to deploy it: until it settles, or for a day, discard() leaves the
  // blob. Whoever completes an upload, or adopts, has claimed it as well.
  virtual std::optional<std::uint64_t> claim(const Digest&) = 0;
  // Takes one claim of each away, unless there are only `least`.
  virtual void settle(const std::set<Digest>&, std::uint32_t least) = 0;

  // How far an unfinished upload has come; 0 if there is none.
  virtual asio::awaitable<Result<std::uint64_t>> uploaded(Digest) = 0;
  // Adds a chunk; gives where the upload stands after it. `chunk` must stay valid until then. With
  // `last`, verifies and publishes: durable once this returns. Adding to a blob that is here
  // already does nothing and gives its size.
  virtual asio::awaitable<Result<std::uint64_t>> append(Digest, std::uint64_t offset,
                                                        std::string_view chunk, bool last) = 0;
  // Takes a file that a sandbox wrote: copies it in, opened without following links and only if it
  // is a plain file of at most bytes_max.
  virtual asio::awaitable<Result<Digest>> adopt(std::filesystem::path file,
                                                std::uint64_t bytes_max) = 0;
  // Makes (or finds) the folder `name`: a tree of hard links to blobs, at the given relative paths,
  // read-only, for binding into sandboxes. `name` is one path element.
  virtual asio::awaitable<Result<std::filesystem::path>> lay_out(
      std::string name, std::vector<std::pair<std::string, Digest>> files) = 0;
  // Removes every blob not in `live`, every tree not in `trees`, and every unfinished upload,
  // unless it was touched within `stale`: what was just uploaded, or asked for by size(), is not
  // named by a revision yet.
  // Gives the bytes freed.
  virtual asio::awaitable<Result<std::uint64_t>> collect(std::set<Digest> live,
                                                         std::set<std::string> trees,
                                                         Duration stale) = 0;
  // Removes what removed revisions had, and nothing else has: these trees, and these blobs unless
  // somebody claims them. Gives the bytes freed.
  virtual asio::awaitable<Result<std::uint64_t>> discard(std::set<Digest>,
                                                         std::set<std::string> trees) = 0;
};

struct Options {
  std::filesystem::path dir;
  std::uint64_t blob_bytes_max = std::uint64_t{64} << 30;
};
Result<std::unique_ptr<Blobs>> open(Options);

Digest digest_of(std::string_view bytes);

}  // namespace dormouse::blobs
