#include "ledger/recover.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "ledger/tail.h"

namespace dormouse::ledger {
namespace {

Error damaged(const Named& segment, std::uint64_t at, std::string_view what) {
  return {Code::unavailable, "the ledger is damaged: " + segment.path.filename().string() +
                                 ", byte " + std::to_string(at) + ": " + std::string(what)};
}

// Follows the records of segments in order.
class Follower {
 public:
  Follower(Recovered& found, Position from) : found_(found), from_(from) {}

  Result<Scan> follow(const Named& segment, std::string_view bytes) {
    subjects_.clear();
    // A segment repeats what was open when it began, in its first batch.
    OpenAttempts before = std::exchange(found_.open, {});
    auto scanned = scan(bytes, [&](std::uint64_t offset, const Record& record) {
      note({segment.number, offset, {}}, record);
    });
    const bool lacks_first = scanned && scanned->end == header_bytes;
    if (lacks_first) {
      found_.open = std::move(before);
    } else {
      found_.subjects = subjects_;
    }
    if (!failed_) return failed_.error();
    return scanned;
  }

  std::int64_t first_hour = std::numeric_limits<std::int64_t>::max();

 private:
  void note(const Position& at, const Record& record) {
    if (const auto* s = std::get_if<Subject>(&record)) subjects_.push_back(*s);
    if (const auto* b = std::get_if<BegunRecord>(&record)) found_.open[b->key] = *b;
    if (const auto* c = std::get_if<CarriedRecord>(&record)) found_.open[c->key] = *c;
    const auto* e = std::get_if<EndedRecord>(&record);
    if (!e) return;
    found_.open.erase(e->begun.key);
    first_hour = std::min(first_hour, hour_of(e->begun.at_ms));
    const bool counted =
        at.segment < from_.segment || (at.segment == from_.segment && at.offset < from_.offset);
    if (counted || !failed_) return;
    failed_ = add(found_.unwritten, *e, subjects_[e->begun.subject]);
  }

  Recovered& found_;
  Position from_;
  std::vector<Subject> subjects_;
  Result<> failed_ = ok;
};

// A segment of which not even the header came to the disk, or whose predecessor did not come to
// the disk whole, was never synced: the predecessor is synced first. It goes, being younger than
// one sync; unless the store has counted it, for that happens after the sync.
Result<> drop_unsynced(std::vector<Named>& segments, const Position& written) {
  while (!segments.empty()) {
    const Named last = segments.back();
    const auto head = read_range(last.path, 0, header_bytes);
    if (!head) return head.error();
    const auto header = decode_header(*head);
    if (header && segments.size() == 1) return ok;
    std::string why = header ? "it does not continue the segment before" : header.error().message;
    if (header) {
      const auto before = read_whole(segments[segments.size() - 2].path);
      if (!before) return before.error();
      if (before->ends_with(as_text(header->chain))) return ok;
    }
    if (written.segment >= last.number) return damaged(last, 0, why);
    if (::unlink(last.path.c_str()) != 0) {
      return system_error(Code::unavailable, "removing " + last.path.string());
    }
    segments.pop_back();
  }
  return ok;
}

// Whether the log really has been where the store's sums say they stand.
Result<bool> agrees(const std::vector<Named>& segments, const Position& written) {
  const auto named = std::ranges::find(segments, written.segment, &Named::number);
  if (named == segments.end() || written.offset < header_bytes) return false;
  const auto chain = read_range(named->path, written.offset - sizeof(Chain), written.offset);
  if (!chain) return chain.error();
  return *chain == as_text(written.chain);
}

Result<> take_last(Recovered& found, const Named& last, Scan scanned) {
  found.chain = scanned.chain;
  found.next_number = last.number + 1;
  auto file = open_to_append(last.path);
  if (!file) return file.error();
  if (!scanned.damage.empty()) {
    if (auto cut = (*file)->truncate(scanned.end); !cut) return cut;
  }
  if (auto synced = (*file)->sync(); !synced) return synced;
  Active active{*file,       last.path,     last.number,
                scanned.end, scanned.chain, std::move(scanned.contents)};
  found.active = std::move(active);
  return ok;
}

Result<> take_sealed(Recovered& found, const Named& segment) {
  const auto index = read_index(segment.path);
  if (!index) return damaged(segment, 0, index.error().message);
  // One without a receipt is as old as itself.
  Sealed sealed{segment.number, segment.path, std::numeric_limits<std::int64_t>::max(),
                segment.created_ms};
  for (const Block& block : index->blocks) {
    sealed.first_ms = std::min(sealed.first_ms, block.first_ms);
    sealed.last_ms = std::max(sealed.last_ms, block.last_ms);
  }
  found.sealed.push_back(std::move(sealed));
  return ok;
}

Result<> follow_one(Recovered& found, Follower& follower, const Named& segment, bool is_last,
                    const Position& written) {
  const auto bytes = read_whole(segment.path);
  if (!bytes) return bytes.error();
  auto scanned = follower.follow(segment, *bytes);
  if (!scanned) return damaged(segment, 0, scanned.error().message);
  if (found.chain && scanned->header.chain != *found.chain) {
    return damaged(segment, 0, "it does not continue the segment before");
  }
  const bool synced =
      !is_last || (written.segment == segment.number && written.offset > scanned->end);
  if (!scanned->damage.empty() && synced) return damaged(segment, scanned->end, scanned->damage);
  if (is_last && !scanned->finished) return take_last(found, segment, *std::move(scanned));
  found.chain = scanned->chain;
  found.next_number = segment.number + 1;
  // What comes after it is about to be counted; who died may not have synced it.
  const auto sealed = open_to_append(segment.path);
  if (!sealed) return sealed.error();
  if (auto done = (*sealed)->sync(); !done) return done;
  return take_sealed(found, segment);
}

// The store counts only what was synced, so the log must reach at least that far.
Result<> check_reaches(const std::vector<Named>& segments, const Position& written) {
  if (segments.empty() || written.segment < segments.front().number) return ok;
  const auto named = std::ranges::find(segments, written.segment, &Named::number);
  std::error_code error;
  if (named == segments.end()) {
    return damaged(
        segments.back(), 0,
        "segment " + std::to_string(written.segment) + ", which was counted already, is missing");
  }
  const auto size = std::filesystem::file_size(named->path, error);
  if (error || size >= written.offset) return ok;
  return damaged(*named, size, "what was counted already is missing");
}

struct Joined {
  std::uint64_t end = 0;  // Of what is good in the segment.
  std::string rest;       // The tail's batch, which follows it; empty if it adds nothing.
};

// A tail that is not of this segment's end and chain adds nothing. One that a power cut left may be
// of long ago: what goes on behind it is for recover() to judge.
Joined join(const Named& segment, std::string_view bytes, const Tail::Left& left) {
  const auto nothing = [](std::uint64_t, const Record&) {};
  if (left.records.empty() || left.place.segment != segment.number) return {};
  const auto alone = scan(bytes, nothing);
  const bool is_its_end =
      alone && alone->end == left.place.offset && alone->chain == left.place.chain;
  if (!is_its_end) return {};
  Chainer chainer;
  Chain after;
  std::string rest = frame_batch(left.records, alone->chain, chainer, &after);
  if (bytes.size() > alone->end + rest.size()) return {};
  const auto both = scan(std::string(bytes.substr(0, alone->end)) + rest, nothing);
  if (!both || both->end != alone->end + rest.size()) return {};
  return {alone->end, std::move(rest)};
}

}  // namespace

Result<> write_what_is_left(const std::filesystem::path& dir) {
  const auto left = Tail::left_in(dir);
  if (!left) return left.error();
  const auto segments = segments_in(dir);
  if (!segments) return segments.error();
  const auto named = std::ranges::find(*segments, left->place.segment, &Named::number);
  if (left->records.empty() || named == segments->end()) return ok;
  const auto bytes = read_whole(named->path);
  if (!bytes) return bytes.error();
  const Joined joined = join(*named, *bytes, *left);
  if (joined.rest.empty()) return ok;
  const auto file = open_to_append(named->path);
  if (!file) return file.error();
  if (auto cut = (*file)->truncate(joined.end); !cut) return cut;
  return (*file)->append(joined.rest, joined.end);
}

Result<Recovered> recover(const std::filesystem::path& dir, const Position& written) {
  auto segments = segments_in(dir);
  if (!segments) return segments.error();
  if (auto reaches = check_reaches(*segments, written); !reaches) return reaches.error();
  if (auto dropped = drop_unsynced(*segments, written); !dropped) return dropped.error();
  Recovered found;
  const auto fits = agrees(*segments, written);
  if (!fits) return fits.error();
  found.rebuild = !*fits && (written.segment > 0 || !segments->empty());
  found.written = *fits ? written : Position{};
  Follower follower(found, found.written);
  for (const Named& segment : *segments) {
    const bool is_last = &segment == &segments->back();
    const bool counted = !is_last && segment.number < found.written.segment;
    auto taken = counted ? take_sealed(found, segment)
                         : follow_one(found, follower, segment, is_last, written);
    if (!taken) return taken.error();
  }
  const bool has_all = segments->empty() || segments->front().number == 1;
  found.first_hour = has_all ? std::numeric_limits<std::int64_t>::min() : follower.first_hour;
  return found;
}

// The index ends with where its batch begins, before the record's checksum and the chain.
Result<IndexRecord> read_index(const std::filesystem::path& sealed) {
  const Error missing{Code::unavailable, "its index is missing"};
  struct stat size{};
  if (::stat(sealed.c_str(), &size) != 0) {
    return system_error(Code::unavailable, "stat " + sealed.string());
  }
  const auto end = static_cast<std::uint64_t>(size.st_size);
  constexpr std::uint64_t after = sizeof(std::uint32_t) + sizeof(Chain);
  if (end < header_bytes + after + sizeof(std::uint64_t)) return missing;
  const auto tail = read_range(sealed, end - after - sizeof(std::uint64_t), end - after);
  if (!tail) return tail.error();
  const auto offset = Reader(*tail).get<std::uint64_t>();
  if (offset < header_bytes || offset > end - after) return missing;
  const auto batch = read_range(sealed, offset + sizeof(std::uint32_t), end - sizeof(Chain));
  if (!batch) return batch.error();
  std::string_view rest = *batch;
  auto record = take_record(rest);
  if (!record) return record.error();
  auto* index = std::get_if<IndexRecord>(&*record);
  if (!index || !rest.empty()) return missing;
  return std::move(*index);
}

Result<std::optional<Receipt>> find_in(const std::filesystem::path& segment,
                                       const IndexRecord& index, const Key& key) {
  const std::int64_t ms = key.id.time().unix_ms;
  for (std::size_t i = 0; i < index.blocks.size(); ++i) {
    const Block& block = index.blocks[i];
    if (ms < block.first_ms || ms > block.last_ms) continue;
    const bool is_last = i + 1 == index.blocks.size();
    const auto batches =
        read_range(segment, block.offset, is_last ? index.offset : index.blocks[i + 1].offset);
    if (!batches) return batches.error();
    auto ended = find_ended(*batches, key);
    if (!ended) return std::move(ended).error().during("reading " + segment.string());
    if (!*ended || (*ended)->begun.subject >= index.subjects.size()) continue;
    return resolve(**ended, index.subjects[(*ended)->begun.subject]);
  }
  return std::nullopt;
}

Result<> read_all(const std::filesystem::path& dir, const Visit& visit) {
  const auto left = Tail::left_in(dir);  // Before the segments, into which it goes.
  if (!left) return left.error();
  auto segments = segments_in(dir);
  if (!segments) return segments.error();
  std::error_code gone;
  while (!segments->empty() && file_size(segments->back().path, gone) < header_bytes) {
    segments->pop_back();  // Being created.
  }
  std::optional<Chain> chain;
  for (const Named& segment : *segments) {
    auto bytes = read_whole(segment.path);
    if (!bytes) return bytes.error();
    const bool is_last = &segment == &segments->back();
    if (const Joined joined = join(segment, *bytes, *left); !joined.rest.empty()) {
      bytes->resize(joined.end);
      *bytes += joined.rest;
    }
    std::vector<Subject> subjects;
    const auto scanned = scan(*bytes, [&](std::uint64_t, const Record& record) {
      if (const auto* s = std::get_if<Subject>(&record)) subjects.push_back(*s);
      if (const auto* b = std::get_if<BegunRecord>(&record)) {
        const Begun begun = resolve(*b, subjects[b->subject]);
        visit(&begun, nullptr);
      }
      if (const auto* e = std::get_if<EndedRecord>(&record)) {
        const Receipt receipt = resolve(*e, subjects[e->begun.subject]);
        visit(nullptr, &receipt);
      }
    });
    if (!scanned) return damaged(segment, 0, scanned.error().message);
    if (chain && scanned->header.chain != *chain) {
      return damaged(segment, 0, "it does not continue the segment before");
    }
    const bool being_written = is_last && scanned->cut_off;
    if (!scanned->damage.empty() && !being_written) {
      return damaged(segment, scanned->end, scanned->damage);
    }
    chain = scanned->chain;
  }
  return ok;
}

}  // namespace dormouse::ledger
