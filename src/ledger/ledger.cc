#include "ledger/ledger.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <set>

#include "ledger/file_ledger.h"

namespace dormouse::ledger {

FileLedger::FileLedger(asio::any_io_executor executor, async::Clock* clock, store::Store* store,
                       Options options)
    : executor_(std::move(executor)),
      clock_(clock),
      store_(store),
      options_(std::move(options)),
      idle_(executor_, asio::steady_timer::time_point::max()) {
}

Result<> FileLedger::start() {
  std::error_code failed;
  std::filesystem::create_directories(options_.dir, failed);
  // Closed to other users of the host, also if it was there.
  if (!failed) permissions(options_.dir, std::filesystem::perms::owner_all, failed);
  if (failed) {
    return system_error(Code::unavailable, "making " + options_.dir.string(), failed.value());
  }
  Position written;
  auto read = store_->transact_now([&](store::Transaction& t) -> Result<> {
    auto position = read_position(t);
    if (!position) return position.error();
    written = *position;
    return ok;
  });
  if (!read) return read;
  if (auto whole = write_what_is_left(options_.dir); !whole) return whole;
  auto found = recover(options_.dir, written);
  if (!found) return found.error();
  return adopt(*std::move(found));
}

Result<> FileLedger::adopt(Recovered found) {
  sealed_ = std::move(found.sealed);
  active_ = std::move(found.active);
  recent_ = std::move(found.unwritten);
  if (!active_) {
    const auto next = prepare(found.next_number);
    if (!next) return next.error();
    const SegmentHeader header{found.next_number, next->created_ms, found.chain.value_or(Chain{})};
    std::vector<BegunRecord> running;
    for (const auto& [_, each] : found.open) running.push_back(each);
    auto begun = begin_segment(*next, header, running, found.subjects, &active_);
    if (!begun) return begun;
  }
  if (options_.has_tail) tail_ = Tail::make_in(options_.dir);
  begin_tail();
  if (!tail_) Tail::remove_from(options_.dir);
  batch_subjects_ = active_->contents.subjects().size();
  if (auto ended = interrupt_open(found.open, found.subjects); !ended) return ended;
  return catch_up(found);
}

Result<> FileLedger::interrupt_open(const OpenAttempts& open,
                                    const std::vector<Subject>& subjects) {
  for (const auto& [key, begun] : open) {
    const Subject& subject = subjects[begun.subject];
    open_[key] = {key, place_of(subject), begun.at_ms};
    end(resolve(interrupted(begun), subject));
  }
  return flush();
}

// Writes the sums before anybody asks, so that what is found at the next start is little.
Result<> FileLedger::catch_up(const Recovered& found) {
  if (auto spilled = spill(); !spilled) return spilled;
  if (auto synced = active_->file->sync(); !synced) return synced;
  stage_sums();
  if (sums_broken_) return *sums_broken_;
  auto caught_up = store_->transact_now([&](store::Transaction& t) -> Result<> {
    if (found.rebuild) {
      if (auto cleared = clear_sums(t, found.first_hour); !cleared) return cleared;
    }
    return write_sums(t, staged_, found.written, staged_to_);
  });
  if (!caught_up) return caught_up;
  written_ = staged_to_;
  staged_.clear();
  return ok;
}

std::uint32_t FileLedger::place_of(const Subject& subject) {
  const auto place = active_->contents.place_of(subject);
  if (place.is_new) append_record(records_, subject);
  return place.at;
}

// Most calls are of the same function as the one before.
std::uint32_t FileLedger::place_of(const Begun& begun) {
  const auto& known = active_->contents.subjects();
  const bool is_last = last_place_ < known.size() && is_of(begun, known[last_place_]);
  if (!is_last) last_place_ = place_of(subject_of(begun));
  return last_place_;
}

void FileLedger::begin(const Begun& begun) {
  const BegunRecord record{begun.key, place_of(begun), begun.at.unix_ms};
  CHECK(open_.emplace(begun.key, record).second);
  append_record(records_, record);
  batch_begun_.push_back(record);
}

void FileLedger::end(const Receipt& receipt) {
  const auto open = open_.find(receipt.begun.key);
  if (open == open_.end()) {
    CHECK(has_failed_);  // Else it was ended twice, or never begun.
    return;
  }
  const EndedRecord record = record_of(receipt, open->second.subject);
  open_.erase(open);
  append_record(records_, record);
  batch_ended_.push_back(record);
}

Result<> FileLedger::flush() {
  if (records_.empty()) return broken_ ? Result<>(*broken_) : ok;
  const auto at = broken_ ? Result<std::uint64_t>(*broken_) : put(records_);
  if (!at) {
    give_up_batch();
    return at.error();
  }
  auto counted = count_batch(*at);
  if (!counted && !sums_broken_) sums_broken_ = counted.error();
  clear_batch();
  if (next_ && active_->size >= options_.segment_bytes_max) (void)switch_to(*next_);
  start_syncing();
  return ok;
}

// Gives where their batch begins, which may have others and may still be to be written.
Result<std::uint64_t> FileLedger::put(std::string_view records) {
  if (tail_ && (is_stuck_ || !tail_->has_room_for(records))) {
    if (auto spilled = spill(); !spilled) return spilled.error();
  }
  const std::uint64_t at = active_->size;
  if (tail_ && tail_->has_room_for(records)) {
    tail_->add(records);
    return at;
  }
  if (auto wrote = write_batch(records); !wrote) return wrote.error();
  return at;
}

// What one that failed may have left behind goes first: else the next would lie behind it.
Result<> FileLedger::write(std::string_view bytes) {
  if (is_stuck_) {
    if (auto cut = active_->file->truncate(active_->size); !cut) return cut;
  }
  auto wrote = active_->file->append(bytes, active_->size);
  is_stuck_ = !wrote;
  return wrote;
}

Result<> FileLedger::write_batch(std::string_view records) {
  Chain after;
  const std::string batch = frame_batch(records, active_->chain, chainer_, &after);
  if (auto wrote = write(batch); !wrote) return wrote;
  active_->size += batch.size();
  active_->chain = after;
  begin_tail();
  return ok;
}

Result<> FileLedger::spill() {
  return is_spilt() ? ok : write_batch(tail_->records());
}

void FileLedger::begin_tail() {
  if (tail_) tail_->begin({active_->number, active_->size, active_->chain});
}

Result<> FileLedger::count_batch(std::uint64_t at) {
  Result<> counted = ok;
  for (const EndedRecord& ended : batch_ended_) {
    active_->contents.note(at, ended.begun.key);
    auto added = add(recent_, ended, active_->contents.subjects()[ended.begun.subject]);
    if (!added) counted = std::move(added);
  }
  return counted;
}

void FileLedger::clear_batch() {
  records_.clear();
  batch_begun_.clear();
  batch_ended_.clear();
  batch_subjects_ = active_->contents.subjects().size();
}

// Nothing of the batch happened: its attempts never began; those that had begun before and ended in
// it are as if the platform had died, which is what their receipts will say.
void FileLedger::give_up_batch() {
  has_failed_ = true;
  std::set<Key> never_begun;
  for (const BegunRecord& begun : batch_begun_) {
    never_begun.insert(begun.key);
    open_.erase(begun.key);
  }
  const std::vector<EndedRecord> ended = std::move(batch_ended_);
  active_->contents.forget_from(batch_subjects_);
  clear_batch();
  for (const EndedRecord& record : ended) {
    if (never_begun.contains(record.begun.key)) continue;
    batch_ended_.push_back(interrupted(record.begun));
    append_record(records_, batch_ended_.back());
  }
}

asio::awaitable<Result<std::vector<Sum>>> FileLedger::usage(Query query) {
  if (sums_broken_) co_return *sums_broken_;
  const Sums recent = recent_, staged = staged_;
  const Position written = written_, staged_to = staged_to_;
  // Shared: the store's thread may still read when this coroutine is gone already.
  struct Rows {
    std::vector<Sum> sums;
    Position stands;
  };
  const auto rows = std::make_shared<Rows>();
  auto read = [rows, query](store::Transaction& t) -> Result<> {
    auto position = read_position(t);
    if (!position) return position.error();
    rows->stands = *position;
    auto sums = read_sums(t, query);
    if (!sums) return sums.error();
    rows->sums = *std::move(sums);
    return ok;
  };
  auto done = co_await store_->transact(std::move(read));
  if (!done) co_return std::move(done).error().during("reading usage");
  if (rows->stands != written && rows->stands != staged_to) {
    co_return Error{Code::unavailable, "the ledger's sums stand elsewhere"};
  }
  Sums missing = recent;
  // A write of the staged sums that was under way may have come before our reading.
  if (rows->stands == written && written != staged_to) {
    if (auto added = add(missing, staged); !added) co_return added.error();
  }
  co_return merge(rows->sums, missing, query);
}

asio::awaitable<Result<std::optional<Receipt>>> FileLedger::find(Key key) {
  const std::int64_t ms = key.id.time().unix_ms;
  std::vector<std::filesystem::path> sealed;
  for (const Sealed& segment : sealed_) {
    if (segment.first_ms <= ms && ms <= segment.last_ms) sealed.push_back(segment.path);
  }
  IndexRecord active{active_->contents.subjects(), active_->contents.blocks(), active_->size};
  std::string recent = tail_ ? tail_->records() : "";  // Later they may be in the file.
  auto search = [key, sealed = std::move(sealed), active = std::move(active), path = active_->path,
                 recent = std::move(recent)]() -> Result<std::optional<Receipt>> {
    auto in_tail = find_among(recent, key);
    if (!in_tail) return std::move(in_tail).error();
    if (*in_tail) return resolve(**in_tail, active.subjects[(*in_tail)->begun.subject]);
    auto found = find_in(path, active, key);
    for (auto old = sealed.rbegin(); old != sealed.rend() && found && !*found; ++old) {
      const auto index = read_index(*old);
      if (!index) return index.error();
      found = find_in(*old, *index, key);
    }
    return found;
  };
  co_return co_await reading_.run(std::move(search));
}

asio::awaitable<Result<>> FileLedger::close() {
  auto flushed = flush();
  closing_ = true;
  while (syncing_) co_await idle_.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!flushed) co_return flushed;
  if (auto spilled = spill(); !spilled) co_return spilled;
  stage_sums();
  if (!co_await sync_files()) co_return *broken_;
  if (sums_broken_) co_return *sums_broken_;
  if (!is_counted() && !co_await write_counted()) {
    co_return Error{Code::unavailable, "writing the ledger's sums"};
  }
  co_return ok;
}

Result<std::unique_ptr<Ledger>> open(asio::any_io_executor executor, async::Clock* clock,
                                     store::Store* store, Options options) {
  auto ledger = std::make_unique<FileLedger>(std::move(executor), clock, store, std::move(options));
  auto started = ledger->start();
  if (!started) return std::move(started).error().during("opening the ledger");
  return ledger;
}

}  // namespace dormouse::ledger
