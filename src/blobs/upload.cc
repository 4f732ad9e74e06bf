#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "blobs/folder.h"

namespace dormouse::blobs {

std::filesystem::path Folder::upload_path(const Digest& digest) const {
  return uploads() / digest.hex();
}

Result<std::uint64_t> Folder::uploaded(const Digest& digest) {
  if (broken_) return *broken_;
  if (const auto complete = size(digest)) return *complete;
  if (const auto known = open_.find(digest); known != open_.end()) return known->second.size;
  struct stat found{};
  if (::stat(upload_path(digest).c_str(), &found) == 0) {
    return static_cast<std::uint64_t>(found.st_size);
  }
  if (errno == ENOENT) return std::uint64_t{0};
  return system_error(Code::unavailable, "looking for an upload");
}

Result<std::uint64_t> Folder::append(const Digest& digest, std::uint64_t offset,
                                     std::string_view chunk, bool last) {
  if (const auto complete = size(digest)) return *complete;
  const auto upload = resume(digest);
  if (!upload) return upload.error();
  if (offset != (*upload)->size) {
    return Error{Code::conflict, "the upload of " + digest.text() + " stands at " +
                                     std::to_string((*upload)->size)};
  }
  if (chunk.size() > options_.blob_bytes_max - (*upload)->size) {
    drop(digest);
    return Error{Code::too_large,
                 "a blob is at most " + std::to_string(options_.blob_bytes_max) + " bytes"};
  }
  if (auto added = add(**upload, digest, chunk); !added) return added.error();
  if (!last) return (*upload)->size;
  return finish(**upload, digest);
}

Result<Folder::Upload*> Folder::resume(const Digest& digest) {
  if (const auto known = open_.find(digest); known != open_.end()) return &known->second;
  auto file = open_for_writing(upload_path(digest));
  if (!file) return file.error();
  Upload upload{*std::move(file), {}, 0};
  auto read = read_pieces(upload.file, 0, [&](std::string_view piece) -> Result<> {
    upload.hasher.add(piece);
    upload.size += piece.size();
    return ok;
  });
  if (!read) return read.error();
  if (open_.size() >= uploads_open_max) open_.erase(open_.begin());
  return &open_.emplace(digest, std::move(upload)).first->second;
}

// Either the whole chunk is in the file and in the hash, or nothing of it.
Result<> Folder::add(Upload& upload, const Digest& digest, std::string_view chunk) {
  auto wrote = write_at(upload.file, upload.size, chunk);
  if (!wrote) {
    if (::ftruncate(upload.file.get(), static_cast<off_t>(upload.size)) != 0) drop(digest);
    return std::move(wrote).error().during("uploading " + digest.text());
  }
  upload.hasher.add(chunk);
  upload.size += chunk.size();
  return ok;
}

// What could not be synced may be lost in parts, so it is dropped whole.
Result<std::uint64_t> Folder::finish(Upload& upload, const Digest& digest) {
  const std::uint64_t size = upload.size;
  if (hash::as_digest(upload.hasher.finish()) != digest) {
    drop(digest);
    return Error{Code::invalid_argument, "the bytes are not those of " + digest.text()};
  }
  auto published = publish_as(digest, upload.file, upload_path(digest));
  drop(digest);
  if (!published) return std::move(published).error().during("publishing " + digest.text());
  return size;
}

// A blob whose folder could not be synced may be gone after a power cut. Were it left here, asking
// again would find it and promise that it is durable.
Result<> Folder::publish_as(const Digest& digest, const File& file,
                            const std::filesystem::path& from) {
  auto published = publish(file, from, path(digest));
  if (!published && ::unlink(path(digest).c_str()) != 0 && errno != ENOENT) {
    broken_ = published.error();
  }
  return published;
}

void Folder::drop(const Digest& digest) {
  open_.erase(digest);
  ::unlink(upload_path(digest).c_str());
}

Result<Digest> Folder::adopt(const std::filesystem::path& file, std::uint64_t bytes_max) {
  if (broken_) return *broken_;
  const auto from = open_untrusted(file);
  if (!from) return from.error();
  const auto to = uploads() / "adopted";
  auto digest = copy_in(*from, to, std::min(bytes_max, options_.blob_bytes_max));
  ::unlink(to.c_str());  // Gone already if it was published.
  if (!digest) return std::move(digest).error().during("adopting " + file.string());
  return digest;
}

// The size may change while it is read, so what counts is what was read.
Result<Digest> Folder::copy_in(const File& from, const std::filesystem::path& to,
                               std::uint64_t bytes_max) {
  ::unlink(to.c_str());
  const auto copy = open_for_writing(to);
  if (!copy) return copy.error();
  hash::Hasher hasher;
  std::uint64_t size = 0;
  auto read = read_pieces(from, 0, [&](std::string_view piece) -> Result<> {
    if (piece.size() > bytes_max - size) {
      return Error{Code::too_large, "more than " + std::to_string(bytes_max) + " bytes"};
    }
    hasher.add(piece);
    size += piece.size();
    return write_at(*copy, size - piece.size(), piece);
  });
  if (!read) return read.error();
  const Digest digest = hash::as_digest(hasher.finish());
  adopted_.insert(digest);
  if (this->size(digest)) return digest;
  if (auto published = publish_as(digest, *copy, to); !published) return published.error();
  return digest;
}

}  // namespace dormouse::blobs
