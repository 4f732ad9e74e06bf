#include "ledger/segment.h"

#include <algorithm>

#include "base/bytes.h"

namespace dormouse::ledger {
namespace {

constexpr std::string_view magic = "dormledg";
constexpr std::uint32_t version = 1;
constexpr std::size_t frame_bytes = sizeof(std::uint32_t) + sizeof(Chain);

struct Batch {
  std::string_view chained;  // Length and records: what the chain covers.
  std::string_view records;
  std::string_view chain;
  std::size_t size() const { return chained.size() + chain.size(); }
};

std::optional<Batch> batch_at(std::string_view rest) {
  Reader in(rest);
  const auto length = in.get<std::uint32_t>();
  if (!in.ok() || length > batch_bytes_max) return {};
  const std::string_view records = in.take(length);
  const std::string_view chain = in.take(sizeof(Chain));
  if (!in.ok()) return {};
  return Batch{rest.substr(0, sizeof(length) + length), records, chain};
}

bool refers_within(const Record& record, std::size_t subjects) {
  if (const auto* b = std::get_if<BegunRecord>(&record)) return b->subject < subjects;
  if (const auto* c = std::get_if<CarriedRecord>(&record)) return c->subject < subjects;
  if (const auto* e = std::get_if<EndedRecord>(&record)) return e->begun.subject < subjects;
  return true;
}

class Scanner {
 public:
  Scanner(std::string_view bytes, const VisitRecord& visit, Scan& scan)
      : bytes_(bytes), visit_(visit), scan_(scan) {}

  void run() {
    while (scan_.end < bytes_.size() && scan_.damage.empty()) step();
  }

 private:
  void step() {
    const auto batch = batch_at(bytes_.substr(scan_.end));
    if (!batch) {
      scan_.cut_off = true;
      return damaged("a batch is cut off");
    }
    const Chain chain = chainer_.after(scan_.chain, batch->chained);
    if (as_text(chain) != batch->chain) return damaged("a batch does not have its hash");
    std::string_view rest = batch->records;
    while (!rest.empty()) {
      const auto record = take_record(rest);
      if (!record) return damaged(record.error().message);
      if (!refers_within(*record, scan_.contents.subjects().size())) {
        return damaged("a record is about nobody");
      }
      note(*record);
    }
    scan_.end += batch->size();
    scan_.chain = chain;
  }

  void note(const Record& record) {
    scan_.finished = std::holds_alternative<IndexRecord>(record);
    if (const auto* s = std::get_if<Subject>(&record)) scan_.contents.place_of(*s);
    if (const auto* e = std::get_if<EndedRecord>(&record)) {
      scan_.contents.note(scan_.end, e->begun.key);
    }
    visit_(scan_.end, record);
  }

  // Names the record if one record's own checksum shows it.
  void damaged(std::string_view what) {
    scan_.damage = std::string(what);
    const auto batch = batch_at(bytes_.substr(scan_.end));
    std::string_view rest = batch ? batch->records : std::string_view();
    for (std::uint64_t n = 1; !rest.empty(); ++n) {
      const std::uint64_t at = static_cast<std::uint64_t>(rest.data() - bytes_.data());
      if (take_record(rest)) continue;
      scan_.damage += ": record " + std::to_string(n) + " of it, at byte " + std::to_string(at);
      return;
    }
  }

  std::string_view bytes_;
  const VisitRecord& visit_;
  Scan& scan_;
  Chainer chainer_;
};

}  // namespace

std::string encode(const SegmentHeader& header) {
  std::string out(magic);
  put(out, version);
  put(out, header.number);
  put(out, header.created_ms);
  put(out, std::uint32_t{0});
  std::string checked = out;
  checked += as_text(header.chain);
  put(out, crc32c(checked));
  out += as_text(header.chain);
  CHECK(out.size() == header_bytes);
  return out;
}

Result<SegmentHeader> decode_header(std::string_view bytes) {
  const auto wrong = [](std::string_view why) {
    return Error{Code::unavailable, "a segment's header " + std::string(why)};
  };
  if (bytes.size() < header_bytes) return wrong("is cut off");
  Reader in(bytes.substr(0, header_bytes));
  if (in.take(magic.size()) != magic) return wrong("is not one");
  const auto found = in.get<std::uint32_t>();
  SegmentHeader header;
  header.number = in.get<std::uint32_t>();
  header.created_ms = in.get<std::int64_t>();
  in.get<std::uint32_t>();
  const auto crc = in.get<std::uint32_t>();
  const std::string_view chain = in.take(sizeof(Chain));
  std::ranges::copy(chain, header.chain.begin());
  std::string checked(bytes.substr(0, 28));
  checked += chain;
  if (crc != crc32c(checked)) return wrong("does not have its checksum");
  if (found != version) return wrong("is of version " + std::to_string(found));
  return header;
}

Contents::Place Contents::place_of(const Subject& subject) {
  std::string key;
  append_record(key, subject);
  const auto at = static_cast<std::uint32_t>(subjects_.size());
  const auto [known, is_new] = places_.try_emplace(std::move(key), at);
  if (is_new) subjects_.push_back(subject);
  return {known->second, is_new};
}

void Contents::forget_from(std::size_t subjects) {
  std::erase_if(places_, [&](const auto& place) { return place.second >= subjects; });
  subjects_.resize(std::min(subjects, subjects_.size()));
}

void Contents::note(std::uint64_t batch_offset, const Key& ended) {
  const std::int64_t ms = ended.id.time().unix_ms;
  if (blocks_.empty() || batch_offset >= blocks_.back().offset + block_bytes) {
    blocks_.push_back({batch_offset, ms, ms});
  }
  blocks_.back().first_ms = std::min(blocks_.back().first_ms, ms);
  blocks_.back().last_ms = std::max(blocks_.back().last_ms, ms);
}

std::string frame_batch(std::string_view records, const Chain& before, Chainer& chainer,
                        Chain* after) {
  CHECK(records.size() <= batch_bytes_max);
  std::string out;
  out.reserve(records.size() + frame_bytes);
  put_sized(out, records);
  *after = chainer.after(before, out);
  out += as_text(*after);
  return out;
}

Result<Scan> scan(std::string_view bytes, const VisitRecord& visit) {
  auto header = decode_header(bytes);
  if (!header) return header.error();
  Scan scan;
  scan.header = *header;
  scan.chain = header->chain;
  scan.end = header_bytes;
  Scanner(bytes, visit, scan).run();
  return scan;
}

Result<std::optional<EndedRecord>> find_among(std::string_view records, const Key& key) {
  std::optional<EndedRecord> found;
  while (!records.empty()) {
    const auto record = take_record(records);
    if (!record) return record.error();
    const auto* ended = std::get_if<EndedRecord>(&*record);
    if (ended && ended->begun.key == key) found = *ended;
  }
  return found;
}

Result<std::optional<EndedRecord>> find_ended(std::string_view batches, const Key& key) {
  while (const auto batch = batch_at(batches)) {
    auto found = find_among(batch->records, key);
    if (!found || *found) return found;
    batches.remove_prefix(batch->size());
  }
  return std::nullopt;
}

}  // namespace dormouse::ledger
