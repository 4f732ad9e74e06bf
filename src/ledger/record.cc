#include "ledger/record.h"

#include <algorithm>

#include "base/bytes.h"
#include "ledger/checksum.h"

namespace dormouse::ledger {
namespace {

enum Type : std::uint8_t { subject = 1, begun = 2, ended = 3, carried = 4, index = 5 };
constexpr std::uint8_t no_failure = 255;

// Of `ended`.
constexpr std::uint8_t flag_interrupted = 1;
constexpr std::uint8_t flag_shared = 2;
constexpr std::uint8_t flag_tokens = 4;  // Their counts end the payload.
constexpr std::uint8_t flags_all = 7;
constexpr std::size_t frame_bytes = sizeof(std::uint32_t) + 1 + sizeof(std::uint32_t);

// The payload of a record that has no text.
using Fixed = Packed<192>;

void put_subject(std::string& out, const Subject& s) {
  put_sized(out, s.tenant);
  put_sized(out, s.function);
  put(out, s.revision);
  put_sized(out, s.revision_digest);
  put_sized(out, s.node);
}

Subject get_subject(Reader& in) {
  Subject s;
  s.tenant = in.get_sized();
  s.function = in.get_sized();
  s.revision = in.get<std::int32_t>();
  s.revision_digest = in.get_sized();
  s.node = in.get_sized();
  return s;
}

void put_begun(Fixed& out, const BegunRecord& b) {
  put(out, b.key.id.high());
  put(out, b.key.id.low());
  put(out, b.key.attempt);
  put(out, b.subject);
  put(out, b.at_ms);
}

BegunRecord get_begun(Reader& in) {
  BegunRecord b;
  const auto high = in.get<std::uint64_t>();
  b.key.id = InvocationId::from_raw(high, in.get<std::uint64_t>());
  b.key.attempt = in.get<std::uint32_t>();
  b.subject = in.get<std::uint32_t>();
  b.at_ms = in.get<std::int64_t>();
  return b;
}

void put_ended(Fixed& out, const EndedRecord& e) {
  put_begun(out, e.begun);
  put(out, e.failure ? static_cast<std::uint8_t>(*e.failure) : no_failure);
  put(out,
      static_cast<std::uint8_t>((e.interrupted ? flag_interrupted : 0) |
                                (e.shared ? flag_shared : 0) | (e.tokens.any() ? flag_tokens : 0)));
  put(out, static_cast<std::uint8_t>(e.rung));
  for (const Duration d : {e.queue, e.sandbox, e.code, e.load, e.run, e.cpu}) {
    put(out, std::int64_t{d.count()});
  }
  put(out, e.billed_ms);
  put(out, e.declared_memory_bytes);
  put(out, e.peak_memory_bytes);
  put(out, e.request_bytes);
  put(out, e.response_bytes);
  put(out, e.price);
  if (!e.tokens.any()) return;
  put(out, e.tokens.prompt_read);
  put(out, e.tokens.prompt_reused);
  put(out, e.tokens.generated);
}

std::optional<EndedRecord> get_ended(Reader& in) {
  EndedRecord e;
  e.begun = get_begun(in);
  const auto failure = in.get<std::uint8_t>();
  const auto flags = in.get<std::uint8_t>();
  const auto rung = in.get<std::uint8_t>();
  const bool known = failure <= static_cast<std::uint8_t>(Code::cancelled) || failure == no_failure;
  if (!known || flags > flags_all || rung > static_cast<std::uint8_t>(Rung::from_snapshot))
    return {};
  if (failure != no_failure) e.failure = static_cast<Code>(failure);
  e.interrupted = flags & flag_interrupted;
  e.shared = flags & flag_shared;
  e.rung = static_cast<Rung>(rung);
  for (Duration* d : {&e.queue, &e.sandbox, &e.code, &e.load, &e.run, &e.cpu}) {
    *d = Duration(in.get<std::int64_t>());
  }
  e.billed_ms = in.get<std::int64_t>();
  e.declared_memory_bytes = in.get<std::uint64_t>();
  e.peak_memory_bytes = in.get<std::uint64_t>();
  e.request_bytes = in.get<std::uint64_t>();
  e.response_bytes = in.get<std::uint64_t>();
  e.price = in.get<std::int64_t>();
  if ((flags & flag_tokens) == 0) return e;
  e.tokens.prompt_read = in.get<std::int64_t>();
  e.tokens.prompt_reused = in.get<std::int64_t>();
  e.tokens.generated = in.get<std::int64_t>();
  return e;
}

void put_index(std::string& out, const IndexRecord& x) {
  put(out, static_cast<std::uint32_t>(x.subjects.size()));
  for (const Subject& s : x.subjects) put_subject(out, s);
  put(out, static_cast<std::uint32_t>(x.blocks.size()));
  for (const Block& b : x.blocks) {
    put(out, b.offset);
    put(out, b.first_ms);
    put(out, b.last_ms);
  }
  put(out, x.offset);
}

// The counts are not believed: each turn must find its bytes.
IndexRecord get_index(Reader& in) {
  IndexRecord x;
  for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left) {
    x.subjects.push_back(get_subject(in));
  }
  for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left) {
    Block b;
    b.offset = in.get<std::uint64_t>();
    b.first_ms = in.get<std::int64_t>();
    b.last_ms = in.get<std::int64_t>();
    x.blocks.push_back(b);
  }
  x.offset = in.get<std::uint64_t>();
  return x;
}

void frame(std::string& out, Type type, std::string_view payload) {
  const std::size_t start = out.size();
  put(out, static_cast<std::uint32_t>(payload.size()));
  put(out, static_cast<std::uint8_t>(type));
  out.append(payload);
  put(out, crc32c(std::string_view(out).substr(start + sizeof(std::uint32_t))));
}

template <class Payload, class Value>
void frame(std::string& out, Type type, void (*put_payload)(Payload&, const Value&),
           const Value& value) {
  Payload payload;
  put_payload(payload, value);
  frame(out, type, std::string_view(payload));
}

std::optional<Record> decode(std::uint8_t type, Reader& in) {
  switch (type) {
    case subject: return get_subject(in);
    case begun: return get_begun(in);
    case carried: return CarriedRecord{get_begun(in)};
    case ended: return get_ended(in);
    case index: return get_index(in);
    default: return {};
  }
}

}  // namespace

std::string_view name(Rung rung) {
  switch (rung) {
    case Rung::awake: return "awake";
    case Rung::dozing: return "dozing";
    case Rung::blank: return "blank";
    case Rung::artefact: return "artefact";
    case Rung::from_template: return "template";
    case Rung::from_snapshot: return "snapshot";
  }
  CHECK_UNREACHABLE("every Rung has a name");
}

void append_record(std::string& out, const Subject& s) {
  frame(out, subject, put_subject, s);
}
void append_record(std::string& out, const BegunRecord& b) {
  frame(out, begun, put_begun, b);
}
void append_record(std::string& out, const CarriedRecord& b) {
  frame(out, carried, put_begun, static_cast<const BegunRecord&>(b));
}
void append_record(std::string& out, const EndedRecord& e) {
  frame(out, ended, put_ended, e);
}
void append_record(std::string& out, const IndexRecord& x) {
  frame(out, index, put_index, x);
}

Result<Record> take_record(std::string_view& rest) {
  const auto wrong = [](std::string_view why) {
    return Error{Code::unavailable, "a record " + std::string(why)};
  };
  Reader in(rest);
  const auto length = in.get<std::uint32_t>();
  const std::string_view checked = in.take(std::size_t{length} + 1);
  const auto crc = in.get<std::uint32_t>();
  if (!in.ok()) return wrong("is cut off");
  if (crc != crc32c(checked)) return wrong("does not have its checksum");
  Reader payload(checked.substr(1));
  auto record = decode(static_cast<std::uint8_t>(checked[0]), payload);
  if (!record || !payload.complete()) return wrong("is of no known form");
  rest.remove_prefix(frame_bytes + length);
  return *std::move(record);
}

Begun resolve(const BegunRecord& b, const Subject& s) {
  return {b.key, s.tenant, s.function, s.revision, s.revision_digest, s.node, {b.at_ms}};
}

Receipt resolve(const EndedRecord& e, const Subject& s) {
  Receipt r;
  r.begun = resolve(e.begun, s);
  r.failure = e.failure;
  r.interrupted = e.interrupted;
  r.rung = e.rung;
  r.queue = e.queue;
  r.wake = {e.sandbox, e.code, e.load};
  r.run = e.run;
  r.billed_ms = e.billed_ms;
  r.declared_memory_bytes = e.declared_memory_bytes;
  r.peak_memory_bytes = e.peak_memory_bytes;
  r.cpu = e.cpu;
  r.shared = e.shared;
  r.request_bytes = e.request_bytes;
  r.response_bytes = e.response_bytes;
  r.price = {e.price};
  r.tokens = e.tokens;
  return r;
}

Subject subject_of(const Begun& b) {
  return {b.tenant, b.function, b.revision, b.revision_digest, b.node};
}

bool is_of(const Begun& b, const Subject& s) {
  return b.revision == s.revision && b.function == s.function && b.tenant == s.tenant &&
         b.revision_digest == s.revision_digest && b.node == s.node;
}

EndedRecord record_of(const Receipt& r, std::uint32_t subject_at) {
  EndedRecord e;
  e.begun = {r.begun.key, subject_at, r.begun.at.unix_ms};
  e.failure = r.failure;
  e.interrupted = r.interrupted;
  e.shared = r.shared;
  e.rung = r.rung;
  e.queue = r.queue;
  e.sandbox = r.wake.sandbox;
  e.code = r.wake.code;
  e.load = r.wake.load;
  e.run = r.run;
  e.cpu = r.cpu;
  e.billed_ms = r.billed_ms;
  e.declared_memory_bytes = r.declared_memory_bytes;
  e.peak_memory_bytes = r.peak_memory_bytes;
  e.request_bytes = r.request_bytes;
  e.response_bytes = r.response_bytes;
  e.price = r.price.value;
  e.tokens = r.tokens;
  return e;
}

EndedRecord interrupted(const BegunRecord& b) {
  EndedRecord e;
  e.begun = b;
  e.failure = Code::unavailable;
  e.interrupted = true;
  return e;
}

}  // namespace dormouse::ledger
