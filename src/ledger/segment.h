// A segment as bytes: a header, then batches, each chained to the one before. Pure.
#pragma once

#include <functional>
#include <unordered_map>

#include "ledger/checksum.h"
#include "ledger/record.h"

namespace dormouse::ledger {

struct SegmentHeader {
  std::uint32_t number = 1;
  std::int64_t created_ms = 0;
  Chain chain{};  // After the last batch of the segment before; zeros in the first.
};
inline constexpr std::size_t header_bytes = 48;  // The last 16 are the chain.
inline constexpr std::size_t batch_bytes_max = 256 << 20;

std::string encode(const SegmentHeader&);
Result<SegmentHeader> decode_header(std::string_view bytes);

// What is in a segment besides its records: who they are about, and where they are.
class Contents {
 public:
  static constexpr std::uint64_t block_bytes = 256 << 10;

  // The place of a subject; `is_new` if it was not there before and must be written first.
  struct Place {
    std::uint32_t at;
    bool is_new;
  };
  Place place_of(const Subject&);
  void forget_from(std::size_t subjects);  // They were not written after all.
  void note(std::uint64_t batch_offset, const Key& ended);

  const std::vector<Subject>& subjects() const { return subjects_; }
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  std::vector<Subject> subjects_;
  std::unordered_map<std::string, std::uint32_t> places_;
  std::vector<Block> blocks_;
};

// Frames records into a batch: 4 bytes of length, the records, 16 bytes of chain.
std::string frame_batch(std::string_view records, const Chain& before, Chainer&, Chain* after);

struct Scan {
  SegmentHeader header;
  Contents contents;
  std::uint64_t end = 0;  // After the last batch that is whole and genuine.
  Chain chain{};          // At `end`.
  bool finished = false;  // The last batch holds the index.
  std::string damage;     // What is wrong with the bytes after `end`; "" if there are none.
  bool cut_off = false;   // They are the beginning of a batch, as a crash leaves it.
};
using VisitRecord = std::function<void(std::uint64_t batch_offset, const Record&)>;

// Verifies a whole segment from its first byte. An Error if not even the header is good.
Result<Scan> scan(std::string_view bytes, const VisitRecord&);

// The receipt of `key` among some records, or in whole batches of them; each record is verified by
// its checksum alone.
Result<std::optional<EndedRecord>> find_among(std::string_view records, const Key& key);
Result<std::optional<EndedRecord>> find_ended(std::string_view batches, const Key& key);

}  // namespace dormouse::ledger
