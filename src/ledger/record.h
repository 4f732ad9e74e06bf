// The records of a segment, as values and as bytes: docs/formats/ledger.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ledger/receipt.h"

namespace dormouse::ledger {

// What many attempts have in common; written once per segment and then named by its place.
struct Subject {
  std::string tenant;
  std::string function;
  std::int32_t revision = 0;
  std::string revision_digest;
  std::string node;
  friend bool operator==(const Subject&, const Subject&) = default;
};

struct BegunRecord {
  Key key;
  std::uint32_t subject = 0;
  std::int64_t at_ms = 0;
};

// An attempt that was running when the segment began: repeated from the segment before.
struct CarriedRecord : BegunRecord {};

struct EndedRecord {
  BegunRecord begun;
  std::optional<Code> failure;
  bool interrupted = false;
  bool shared = false;
  Rung rung = Rung::awake;
  Duration queue{}, sandbox{}, code{}, load{}, run{}, cpu{};
  std::int64_t billed_ms = 0;
  std::uint64_t declared_memory_bytes = 0;
  std::uint64_t peak_memory_bytes = 0;
  std::uint64_t request_bytes = 0;
  std::uint64_t response_bytes = 0;
  std::int64_t price = 0;
  Tokens tokens;
};

// Where to look for a receipt in a finished segment.
struct Block {
  std::uint64_t offset = 0;
  std::int64_t first_ms = 0;  // The times in the ids of the receipts from here to the next block.
  std::int64_t last_ms = 0;
};
struct IndexRecord {
  std::vector<Subject> subjects;
  std::vector<Block> blocks;
  std::uint64_t offset = 0;  // Of the batch this record is in; the payload's last 8 bytes.
};

using Record = std::variant<Subject, BegunRecord, EndedRecord, CarriedRecord, IndexRecord>;

void append_record(std::string& out, const Subject&);
void append_record(std::string& out, const BegunRecord&);
void append_record(std::string& out, const CarriedRecord&);
void append_record(std::string& out, const EndedRecord&);
void append_record(std::string& out, const IndexRecord&);

// Takes the next record off the front of `rest`; the Error says what is wrong with it.
Result<Record> take_record(std::string_view& rest);

Begun resolve(const BegunRecord&, const Subject&);
Receipt resolve(const EndedRecord&, const Subject&);
Subject subject_of(const Begun&);
bool is_of(const Begun&, const Subject&);
EndedRecord record_of(const Receipt&, std::uint32_t subject);
EndedRecord interrupted(const BegunRecord&);

}  // namespace dormouse::ledger
