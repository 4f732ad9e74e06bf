#include "cli/delivery.h"

#include <algorithm>
#include <boost/json.hpp>

#include "cli/answers.h"

namespace dormouse::cli {
namespace {

constexpr std::uint64_t chunk_bytes = 8 << 20;

}  // namespace

Result<json::value> Delivery::deliver(const Bundle& bundle) {
  const auto digests = hash_all(bundle.files);
  if (!digests) return digests.error();
  if (auto sent = upload_missing(bundle, *digests); !sent) return sent.error();
  return start(bundle, *digests);
}

Result<std::vector<Digest>> Delivery::hash_all(const std::vector<LocalFile>& files) {
  std::uint64_t all = 0, done = 0;
  for (const LocalFile& file : files) all += file.size;
  std::vector<Digest> digests;
  for (const LocalFile& file : files) {
    const std::string stamp = stamp_of(file);
    const auto known = known_.find(file.on_disk);
    if (known != known_.end() && known->second.stamp == stamp) {
      digests.push_back(known->second.digest);
      continue;
    }
    auto digest = digest_of(
        file, [&](std::uint64_t bytes) { steps_->advance("reading", done += bytes, all); });
    if (!digest) return digest.error();
    if (!stamp.empty()) known_.insert_or_assign(file.on_disk, Known{stamp, *digest});
    digests.push_back(std::move(*digest));
  }
  return digests;
}

// The digests that the node lacks, and how much of each it has.
Result<std::map<std::string, std::uint64_t>> Delivery::ask_missing(
    const std::vector<Digest>& digests) {
  json::array texts;
  for (const Digest& digest : digests) texts.push_back(json::string(digest.text()));
  const auto answer =
      api_->post("/api/v1/blobs/missing", json::object{{"digests", std::move(texts)}});
  if (!answer) return answer.error();
  std::map<std::string, std::uint64_t> missing;
  for (const json::value& entry : list_at(*answer, "missing")) {
    missing[text_at(entry, "digest")] = static_cast<std::uint64_t>(count_at(entry, "uploaded"));
  }
  return missing;
}

// Sends a file from where its upload stands. After a connection that broke, or another client that
// sends the same file, it asks again where that is. What others sent may be wrong, or too much: the
// node drops it once it is said to be all, and the file is sent from its beginning.
Result<> Delivery::upload(const LocalFile& file, const Digest& digest, std::uint64_t offset) {
  constexpr int attempts_max = 5;
  int failed = 0;
  bool all_ours = offset == 0;
  for (bool last = false; !last;) {
    const std::uint64_t rest = file.size - std::min(offset, file.size);
    const std::uint64_t size = std::min(chunk_bytes, rest);
    last = size == rest;
    const auto sent = send(file, digest, {offset, size, last});
    if (sent) {
      offset += size;
      steps_->advance("sending " + file.path, offset, file.size);
      continue;
    }
    const Code why = sent.error().code;
    if (why == Code::invalid_argument && last && !all_ours) {
      all_ours = true;
      offset = 0;
      last = false;
      continue;
    }
    if (why == Code::invalid_argument && last) {
      return Error{why, "it changed while it was sent: deploy it again"};
    }
    const bool resumable = why == Code::conflict || why == Code::unavailable;
    if (!resumable || ++failed == attempts_max) return sent;
    const auto missing = ask_missing({digest});
    if (!missing) return missing.error();
    if (!missing->contains(digest.text())) return ok;  // Somebody else has sent it.
    offset = missing->at(digest.text());
    all_ours = offset == 0;
    last = false;
  }
  return ok;
}

Result<> Delivery::send(const LocalFile& file, const Digest& digest, const Part& part) {
  const auto chunk =
      part.size == 0 ? Result<std::string>("") : read_part(file, part.offset, part.size);
  if (!chunk) return chunk.error();
  const std::string target =
      "/api/v1/blobs/" + digest.text() + "?offset=" + std::to_string(part.offset);
  const auto answer = api_->put(target + (part.last ? "&last=true" : ""), *chunk);
  if (!answer) return answer.error();
  return ok;
}

Result<> Delivery::upload_missing(const Bundle& bundle, const std::vector<Digest>& digests) {
  auto missing = ask_missing(digests);
  if (!missing) return missing.error();
  if (missing->empty()) steps_->say("the node has every file already");
  for (std::size_t i = 0; i < bundle.files.size(); ++i) {
    const auto found = missing->find(digests[i].text());
    if (found == missing->end()) continue;
    auto sent = upload(bundle.files[i], digests[i], found->second);
    if (!sent) return std::move(sent).error().during("sending " + bundle.files[i].path);
    missing->erase(found);  // The same content under another path goes once.
  }
  return ok;
}

Result<json::value> Delivery::start(const Bundle& bundle, const std::vector<Digest>& digests) {
  json::array files;
  for (std::size_t i = 0; i < bundle.files.size(); ++i) {
    files.push_back(json::object{{"path", bundle.files[i].path},
                                 {"digest", digests[i].text()},
                                 {"size", bundle.files[i].size}});
  }
  const json::object body{{"manifest", bundle.manifest}, {"files", std::move(files)}};
  json::value last;
  const auto line = [&](const json::value& value) {
    if (at(value, "progress") != nullptr) {
      steps_->say(text_at(value, "progress"));
    } else if (at(value, "printed") != nullptr) {
      steps_->printed(text_at(value, "printed"));
    } else {
      last = value;
    }
    return true;
  };
  const std::string target = "/api/v1/functions/" + escaped(bundle.name) + "/revisions";
  const auto done = api_->stream("POST", target, json::serialize(body), line);
  if (!done) return done.error();
  if (at(last, "error") != nullptr) return error_of({500, {}, json::serialize(last)});
  if (at(last, "revision") == nullptr) {
    return Error{Code::unavailable, "the daemon went away; `dormouse revisions " + bundle.name +
                                        "` tells whether the deploy was done"};
  }
  return last;
}

}  // namespace dormouse::cli
