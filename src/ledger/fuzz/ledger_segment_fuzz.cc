// Whatever lies in a segment's file, reading it ends, within the file, and never trusts a length.
#include "ledger/segment.h"

extern "C" int LLVMFuzzerTestOneInput(const char* input, std::size_t size) {
  using namespace dormouse::ledger;
  const std::string_view bytes(input, size);
  const auto scanned = scan(bytes, [](std::uint64_t, const Record&) {});
  if (scanned) CHECK(scanned->end <= size);
  std::string_view rest = bytes;
  while (!rest.empty() && take_record(rest)) {
  }
  // With good checksums, so that the decoders behind them are reached.
  if (size > 1) {
    std::string header = encode(SegmentHeader{}), record;
    const auto length = static_cast<std::uint32_t>(size - 1);
    record.append(reinterpret_cast<const char*>(&length), sizeof(length));
    record.append(bytes);
    const std::uint32_t crc = crc32c(bytes);
    record.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
    Chainer chainer;
    Chain chain{};
    header += frame_batch(record, chain, chainer, &chain);
    const auto framed = scan(header, [](std::uint64_t, const Record&) {});
    CHECK(framed && framed->end <= header.size());
  }
  (void)find_ended(bytes, Key{});
  return 0;
}
