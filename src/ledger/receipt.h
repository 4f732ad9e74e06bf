// What one attempt used and cost. A value; the ledger's record format is docs/formats/ledger.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/id.h"
#include "base/money.h"
#include "base/result.h"
#include "base/time.h"

namespace dormouse::ledger {

struct Key {
  InvocationId id;
  std::uint32_t attempt = 1;
  friend auto operator<=>(const Key&, const Key&) = default;
};

// Written before the attempt is dispatched.
struct Begun {
  Key key;
  std::string tenant;
  std::string function;
  std::int32_t revision = 0;
  std::string revision_digest;  // Hex.
  std::string node;
  WallTime at;
};

// Where the instance came from.
enum class Rung : std::uint8_t { awake, dozing, blank, artefact, from_template, from_snapshot };
std::string_view name(Rung);

struct Phases {        // Of waking; zero for a call that found its instance awake.
  Duration sandbox{};  // Waiting for a sandbox, or a slot: 0 if there was one.
  Duration code{};     // Making the revision's files appear.
  Duration load{};     // The worker, from `load` to `ready`; of a template, to fork.
};

// Of a language model; all zero for everything else.
struct Tokens {
  std::int64_t prompt_read = 0;    // Computed,
  std::int64_t prompt_reused = 0;  // or found where an earlier call had computed them.
  std::int64_t generated = 0;      // Of a stream that was left: those that were delivered.
  bool any() const { return prompt_read != 0 || prompt_reused != 0 || generated != 0; }
  friend bool operator==(const Tokens&, const Tokens&) = default;
};

// Written when it ended, however it ended.
struct Receipt {
  Begun begun;
  std::optional<Code> failure;  // nullopt: answered.
  bool interrupted = false;     // The platform died meanwhile; then failure is unavailable.
  Rung rung = Rung::awake;
  Duration queue{};  // From acceptance to dispatch, without waking.
  Phases wake;
  Duration run{};  // From dispatch to answer, by the daemon's monotonic clock.
  std::int64_t billed_ms = 0;
  std::uint64_t declared_memory_bytes = 0;
  std::uint64_t peak_memory_bytes = 0;  // The cgroup's, since the instance's start.
  Duration cpu{};                       // The cgroup's, during the run.
  bool shared = false;  // Others ran in the instance meanwhile: cpu, peak are theirs too.
  std::uint64_t request_bytes = 0;
  std::uint64_t response_bytes = 0;
  PicoUnits price;
  Tokens tokens;
};

using ReceiptPtr = std::shared_ptr<const Receipt>;  // It passes through many hands.

}  // namespace dormouse::ledger
