// The Ledger over a folder of segments and a store.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <unordered_map>

#include "async/thread.h"
#include "ledger/ledger.h"
#include "ledger/recover.h"
#include "ledger/tail.h"

namespace dormouse::ledger {

class FileLedger final : public Ledger {
 public:
  FileLedger(asio::any_io_executor executor, async::Clock* clock, store::Store* store,
             Options options);
  // Before anything else; blocks.
  Result<> start();

  void begin(const Begun&) override;
  void end(const Receipt&) override;
  Result<> flush() override;
  bool needs_flush() const override { return !records_.empty(); }
  asio::awaitable<Result<std::optional<Receipt>>> find(Key) override;
  asio::awaitable<Result<std::vector<Sum>>> usage(Query) override;
  asio::awaitable<Result<>> close() override;

 private:
  struct KeyHash {
    std::size_t operator()(const Key& key) const {
      return key.id.low() ^ (key.id.high() * 0x9E3779B97F4A7C15ULL) ^ key.attempt;
    }
  };
  // A prepared file for the next segment, empty still.
  struct Next {
    std::shared_ptr<File> file;
    std::filesystem::path path;
    std::int64_t created_ms = 0;
  };
  static constexpr int cycles_per_write = 20;  // Of sums, while calls keep coming.
  static constexpr Duration stuck_pause = std::chrono::seconds(1);  // Between two tries to write.

  // Start-up.
  Result<> adopt(Recovered);
  Result<> interrupt_open(const OpenAttempts&, const std::vector<Subject>&);
  Result<> catch_up(const Recovered&);

  // The batch that the next flush() writes.
  std::uint32_t place_of(const Subject&);
  std::uint32_t place_of(const Begun&);
  void clear_batch();
  void give_up_batch();
  Result<> count_batch(std::uint64_t at);
  Result<std::uint64_t> put(std::string_view records);

  // Writes at the segment's end, and counts nothing of it. unavailable: nothing of it stays there.
  Result<> write(std::string_view bytes);
  Result<> write_batch(std::string_view records);
  // Writes what only the tail has to the segment. unavailable: all is as it was, to be tried again.
  Result<> spill();
  bool is_spilt() const { return !tail_ || tail_->is_empty(); }
  void begin_tail();

  // Segments.
  Result<Next> prepare(std::uint32_t number) const;
  Result<> switch_to(const Next&);
  Result<> begin_segment(const Next&, const SegmentHeader&, const std::vector<BegunRecord>& running,
                         const std::vector<Subject>&, std::optional<Active>* next);
  asio::awaitable<void> make_room();

  // Syncing, while there is something to sync.
  void start_syncing();
  asio::awaitable<void> sync_and_rest();
  asio::awaitable<void> sync_until_idle();
  asio::awaitable<bool> sync_files();
  void start_counting();
  bool is_counted() const;
  asio::awaitable<bool> write_counted();
  void stage_sums();

  asio::any_io_executor executor_;
  async::Clock* clock_;
  store::Store* store_;
  Options options_;

  Chainer chainer_;
  std::vector<Sealed> sealed_;
  std::optional<Active> active_;
  std::optional<Next> next_;
  std::unique_ptr<Tail> tail_;  // nullptr: each flush() writes a batch to the segment.
  bool is_stuck_ = false;       // The last write() failed.
  std::vector<std::shared_ptr<File>> unsynced_;  // Sealed since the last sync.
  std::unordered_map<Key, BegunRecord, KeyHash> open_;

  std::string records_;
  std::vector<BegunRecord> batch_begun_;
  std::vector<EndedRecord> batch_ended_;
  std::size_t batch_subjects_ = 0;  // How many there were when the batch began.
  std::uint32_t last_place_ = 0;    // Of what began last.
  bool has_failed_ = false;         // A flush has failed: an end() may be of a forgotten begin().
  std::optional<Error> broken_;     // For good: a sync has failed.

  // The sums of the log = the store's rows at written_ + staged_ + recent_.
  Sums recent_;
  Sums staged_;
  Position staged_to_;
  Position written_;
  std::optional<Error> sums_broken_;

  bool syncing_ = false;
  bool counting_ = false;
  bool closing_ = false;
  asio::steady_timer idle_;  // Cancelled when syncing or counting ends.
  async::Thread reading_{"ledger-reading"};
  async::Thread thread_{"ledger-syncing"};  // Syncs. Joins first.
};

}  // namespace dormouse::ledger
