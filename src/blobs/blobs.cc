#include "blobs/blobs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <ctime>

#include "async/thread.h"
#include "blobs/claims.h"
#include "blobs/folder.h"

namespace dormouse::blobs {
namespace {

class FolderBlobs final : public Blobs {
 public:
  explicit FolderBlobs(Folder folder) : folder_(std::move(folder)) {}

  std::optional<std::uint64_t> size(const Digest& digest) const override {
    return claims_.is_going(digest) ? std::nullopt : folder_.size(digest);
  }
  std::filesystem::path path(const Digest& digest) const override { return folder_.path(digest); }
  std::optional<std::uint64_t> claim(const Digest& digest) override {
    const auto found = size(digest);
    if (found) claims_.add(digest);
    return found;
  }
  void settle(const std::set<Digest>& digests, std::uint32_t least) override {
    claims_.settle(digests, least);
  }

  asio::awaitable<Result<std::uint64_t>> uploaded(Digest digest) override {
    return thread_.run([this, digest = std::move(digest)] { return folder_.uploaded(digest); });
  }
  // It is claimed before it waits for the thread: what is discarded meanwhile is another.
  asio::awaitable<Result<std::uint64_t>> append(Digest digest, std::uint64_t offset,
                                                std::string_view chunk, bool last) override {
    if (last) claims_.add(digest);
    auto work = [this, digest, offset, chunk, last] {
      return folder_.append(digest, offset, chunk, last);
    };
    auto appending = thread_.run(std::move(work));
    auto appended = co_await std::move(appending);
    if (last && !appended) claims_.settle({digest}, 0);
    co_return appended;
  }
  asio::awaitable<Result<Digest>> adopt(std::filesystem::path file,
                                        std::uint64_t bytes_max) override {
    auto work = [this, file = std::move(file), bytes_max] {
      return folder_.adopt(file, bytes_max);
    };
    auto adopting = thread_.run(std::move(work));
    auto adopted = co_await std::move(adopting);
    if (adopted) claims_.add(*adopted);
    co_return adopted;
  }
  asio::awaitable<Result<std::filesystem::path>> lay_out(
      std::string name, std::vector<std::pair<std::string, Digest>> files) override {
    return thread_.run([this, name = std::move(name), files = std::move(files)] {
      return folder_.lay_out(name, files);
    });
  }
  asio::awaitable<Result<std::uint64_t>> collect(std::set<Digest> live, std::set<std::string> trees,
                                                 Duration stale) override {
    return thread_.run([this, live = std::move(live), trees = std::move(trees), stale] {
      return folder_.collect(live, trees, stale);
    });
  }
  asio::awaitable<Result<std::uint64_t>> discard(std::set<Digest> blobs,
                                                 std::set<std::string> trees) override {
    const std::set<Digest> going = claims_.let_go(std::move(blobs));
    const std::shared_ptr<const void> until_then(
        &going, [this](const std::set<Digest>* digests) { claims_.gone(*digests); });
    auto work = [this, going, trees = std::move(trees)] { return folder_.discard(going, trees); };
    auto discarding = thread_.run(std::move(work));
    co_return co_await std::move(discarding);
  }

 private:
  Folder folder_;
  Claims claims_;
  async::Thread thread_{"blobs"};  // Joins first.
};

}  // namespace

Result<> Folder::make() {
  std::error_code failed;
  std::filesystem::create_directories(options_.dir, failed);
  // Closed to other users of the host, also if it was there.
  if (!failed) permissions(options_.dir, std::filesystem::perms::owner_all, failed);
  if (failed) {
    return system_error(Code::unavailable, "making " + options_.dir.string(), failed.value());
  }
  for (const auto& folder : {options_.dir / "sha256", uploads(), trees()}) {
    if (auto made = make_folder(folder); !made) return made;
  }
  return ok;
}

std::filesystem::path Folder::path(const Digest& digest) const {
  return options_.dir / "sha256" / digest.hex().substr(0, 2) / digest.hex();
}

// Whoever asks may count on it from here on, so it becomes young again for collect().
std::optional<std::uint64_t> Folder::size(const Digest& digest) const {
  constexpr std::time_t young_seconds = 3600;
  const std::string file = path(digest);
  struct stat found{};
  if (::stat(file.c_str(), &found) != 0) return {};
  const bool is_young = found.st_mtime > std::time(nullptr) - young_seconds;
  if (!is_young) ::utimensat(AT_FDCWD, file.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
  return static_cast<std::uint64_t>(found.st_size);
}

Result<std::unique_ptr<Blobs>> open(Options options) {
  Folder folder(std::move(options));
  if (auto made = folder.make(); !made) return std::move(made).error().during("opening blobs");
  return std::make_unique<FolderBlobs>(std::move(folder));
}

Digest digest_of(std::string_view bytes) {
  return hash::as_digest(hash::sha256(bytes));
}

}  // namespace dormouse::blobs
