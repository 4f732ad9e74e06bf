// The part of a ledger that runs behind the calls: syncing, new segments, the store's sums.
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>

#include "ledger/file_ledger.h"

namespace dormouse::ledger {

void FileLedger::start_syncing() {
  if (syncing_ || closing_ || broken_) return;
  syncing_ = true;
  auto ended = [](std::exception_ptr failed) { CHECK(!failed); };
  asio::co_spawn(executor_, sync_and_rest(), std::move(ended));
}

// Says that it rests in the same turn in which it found nothing more to do: a flush that comes
// after that turn starts it again.
asio::awaitable<void> FileLedger::sync_and_rest() {
  co_await sync_until_idle();
  syncing_ = false;
  idle_.cancel();
}

// Ends, and so leaves no timer behind, when all that was written is synced and counted. Nothing
// that may take long is waited for between two syncs: what is younger than the last may be lost.
asio::awaitable<void> FileLedger::sync_until_idle() {
  TimePoint next = clock_->now() + options_.sync_every;
  for (int cycle = 1;; ++cycle) {
    co_await clock_->sleep_until(next);
    co_await make_room();
    const bool is_written = spill().has_value();
    next = clock_->now() + (is_written ? options_.sync_every : stuck_pause);
    if (is_written && !counting_) stage_sums();
    if (!co_await sync_files()) break;
    if (closing_ && !is_written) break;  // There will be room at a next start.
    if (counting_ || !is_written) continue;
    const bool quiet = is_spilt() && staged_to_ == active_->position();
    if (closing_ || (quiet && is_counted())) co_return;
    if (quiet || cycle % cycles_per_write == 0) start_counting();
  }
  while (counting_) co_await idle_.async_wait(asio::as_tuple(asio::use_awaitable));
}

// What is staged stays as it is until it is written.
void FileLedger::start_counting() {
  if (is_counted()) return;
  counting_ = true;
  auto ended = [this](std::exception_ptr failed, bool) {
    CHECK(!failed);
    counting_ = false;
    idle_.cancel();
  };
  asio::co_spawn(executor_, write_counted(), std::move(ended));
}

// What has ended up to here may be counted in the store once the log is synced up to here.
void FileLedger::stage_sums() {
  auto staged = add(staged_, recent_);
  if (!staged && !sums_broken_) sums_broken_ = staged.error();
  recent_.clear();
  staged_to_ = active_->position();
}

// After a failed sync nobody knows what is on the disk, nor would a second one tell.
asio::awaitable<bool> FileLedger::sync_files() {
  auto files = std::move(unsynced_);
  unsynced_.clear();
  files.push_back(active_->file);
  if (!is_spilt()) files.push_back(tail_->file());  // It could not be written.
  auto sync = [files = std::move(files)]() -> Result<> {
    for (const auto& file : files) {
      if (auto synced = file->sync(); !synced) return synced;
    }
    return ok;
  };
  const Result<> synced = co_await thread_.run(std::move(sync));
  if (!synced) broken_ = synced.error();
  co_return synced.has_value();
}

bool FileLedger::is_counted() const {
  return sums_broken_ || written_ == staged_to_;  // Broken: until the next start counts again.
}

asio::awaitable<bool> FileLedger::write_counted() {
  // Copies: the store's thread may still write when the ledger is gone already.
  auto write = [sums = staged_, from = written_, to = staged_to_](store::Transaction& t) {
    return write_sums(t, sums, from, to);
  };
  const Result<> wrote = co_await store_->transact(std::move(write));
  if (!wrote) co_return false;
  written_ = staged_to_;
  staged_.clear();
  co_return true;
}

Result<FileLedger::Next> FileLedger::prepare(std::uint32_t number) const {
  Next next;
  next.created_ms = clock_->wall().unix_ms;
  next.path = path_of(options_.dir, number, next.created_ms);
  auto file = open_to_append(next.path);
  if (!file) return file.error();
  next.file = *std::move(file);
  if (auto synced = sync_folder(options_.dir); !synced) return synced.error();
  return next;
}

// Prepares the next segment's file before it is needed, and drops what is too old, if the store has
// counted it. At most two segments go each time, so that a clock that jumps ahead does not empty
// the ledger.
asio::awaitable<void> FileLedger::make_room() {
  if (next_ || active_->size < options_.segment_bytes_max) co_return;
  constexpr std::size_t dropped_max = 2;
  const std::int64_t oldest_ms = clock_->wall().unix_ms - options_.keep_ms;
  std::vector<std::filesystem::path> old;
  while (!sealed_.empty() && old.size() < dropped_max && sealed_.front().last_ms < oldest_ms &&
         sealed_.front().number < written_.segment) {
    old.push_back(sealed_.front().path);
    sealed_.erase(sealed_.begin());
  }
  auto work = [this, old = std::move(old), number = active_->number + 1] {
    for (const auto& path : old) ::unlink(path.c_str());
    return prepare(number);
  };
  auto next = co_await thread_.run(std::move(work));
  if (next) next_ = *std::move(next);
}

// Seals the active segment with its index and begins the next; or leaves all as it was.
Result<> FileLedger::switch_to(const Next& next) {
  CHECK(records_.empty());
  if (auto spilled = spill(); !spilled) return spilled;
  std::string record;
  append_record(
      record, IndexRecord{active_->contents.subjects(), active_->contents.blocks(), active_->size});
  Chain after;
  const std::string batch = frame_batch(record, active_->chain, chainer_, &after);
  if (auto sealed = write(batch); !sealed) return sealed;
  std::optional<Active> begun;
  const SegmentHeader header{active_->number + 1, next.created_ms, after};
  std::vector<BegunRecord> running;
  for (const auto& [_, each] : open_) running.push_back(each);
  auto good = begin_segment(next, header, running, active_->contents.subjects(), &begun);
  if (!good) {
    if (auto taken_back = active_->file->truncate(active_->size); !taken_back) {
      broken_ = taken_back.error();
    }
    return good;
  }
  Sealed done{active_->number, active_->path, INT64_MAX, clock_->wall().unix_ms};
  for (const Block& block : active_->contents.blocks()) {
    done.first_ms = std::min(done.first_ms, block.first_ms);
    done.last_ms = std::max(done.last_ms, block.last_ms);
  }
  sealed_.push_back(std::move(done));
  unsynced_.push_back(active_->file);
  for (auto& [key, open] : open_) {
    open.subject = begun->contents.place_of(active_->contents.subjects()[open.subject]).at;
  }
  active_ = std::move(begun);
  begin_tail();
  next_.reset();
  batch_subjects_ = active_->contents.subjects().size();
  return ok;
}

// The header and, in the first batch, every attempt that is running: so the last segment alone
// tells what was open at a crash.
Result<> FileLedger::begin_segment(const Next& next, const SegmentHeader& header,
                                   const std::vector<BegunRecord>& running,
                                   const std::vector<Subject>& subjects,
                                   std::optional<Active>* begun) {
  Active segment{next.file, next.path, header.number, 0, header.chain, {}};
  std::string bytes = encode(header), records;
  for (const BegunRecord& each : running) {
    const Subject& subject = subjects[each.subject];
    const auto place = segment.contents.place_of(subject);
    if (place.is_new) append_record(records, subject);
    append_record(records, CarriedRecord{{each.key, place.at, each.at_ms}});
  }
  if (!records.empty()) {
    bytes += frame_batch(records, header.chain, chainer_, &segment.chain);
  }
  if (auto empty = next.file->truncate(0); !empty) return empty;  // Of an earlier try.
  if (auto wrote = next.file->append(bytes, 0); !wrote) return wrote;
  segment.size = bytes.size();
  *begun = std::move(segment);
  return ok;
}

}  // namespace dormouse::ledger
