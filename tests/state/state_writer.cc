// Writes to the catalog, the ledger and the blobs until told to stop or something fails, and says
// what it was promised; then, after a disaster, checks that the promises were kept.
//
//   state_writer write DIR ACKS full|normal [CALLS]   ACKS lies elsewhere, where no disaster is
//   state_writer check DIR ACKS CUT_US                CUT_US: when it came; 0: only the process
//   died
#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "blobs/blobs.h"
#include "catalog/catalog.h"
#include "ledger/ledger.h"
#include "metering/metering.h"
#include "store/sqlite_store.h"

namespace dormouse {
namespace {

namespace fs = std::filesystem;

struct State {
  asio::io_context io;
  std::unique_ptr<async::Clock> clock = async::system_clock();
  std::unique_ptr<store::Store> store;
  std::unique_ptr<blobs::Blobs> blobs;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<ledger::Ledger> ledger;
};

Result<> open(State& s, const fs::path& dir, store::Sync sync) {
  std::vector<store::Migration> steps;
  for (const auto& step : catalog::migrations()) steps.push_back(step);
  for (const auto& step : ledger::migrations()) steps.push_back(step);
  auto store = store::open_with(dir / "dormouse.db", steps, sync);
  if (!store) return store.error();
  s.store = *std::move(store);
  auto blobs = blobs::open({dir / "blobs"});
  if (!blobs) return blobs.error();
  s.blobs = *std::move(blobs);
  auto catalog = catalog::open(s.store.get());
  if (!catalog) return catalog.error();
  s.catalog = *std::move(catalog);
  auto ledger = ledger::open(s.io.get_executor(), s.clock.get(), s.store.get(), {dir / "ledger"});
  if (!ledger) return ledger.error();
  s.ledger = *std::move(ledger);
  return ok;
}

std::int64_t now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000LL + now.tv_nsec / 1000;
}

class Acks {
 public:
  explicit Acks(const char* file)
      : descriptor_(::open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) {
    CHECK(descriptor_ >= 0);
  }
  void say(std::string line) const {
    line += '\n';
    CHECK(::write(descriptor_, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  }

 private:
  int descriptor_;
};

std::string bytes_of(int n) {
  return std::string(3000, 'x') + std::to_string(n);
}

catalog::Draft draft_of(int n) {
  catalog::Draft draft;
  draft.manifest.name = "f";
  draft.manifest.runtime = "onnx";
  const std::string bytes = bytes_of(n);
  draft.files = {{"model", blobs::digest_of(bytes), bytes.size()}};
  return draft;
}

ledger::Receipt receipt_of(int n, WallTime at) {
  ledger::Receipt r;
  const auto random = static_cast<std::uint64_t>(n);
  r.begun = {{InvocationId::make(at, {random, random}), 1}, "default", "f", 1, "", "node", at};
  r.run = Duration(1500);
  r.billed_ms = 2;
  r.declared_memory_bytes = 128 << 20;
  r.price = *metering::charge({r.run, {}, r.declared_memory_bytes}, Blame::caller, true, {});
  return r;
}

// Asked again with the same key after an error, as a client would.
asio::awaitable<Result<>> deploy(State* s, const Acks* acks, int n) {
  const std::string bytes = bytes_of(n);
  const Digest digest = blobs::digest_of(bytes);
  const std::string_view first = std::string_view(bytes).substr(0, 1000);
  Result<> outcome = ok;
  for (int tries = 0; tries < 2; ++tries) {
    const auto stands = co_await s->blobs->uploaded(digest);
    auto sent =
        stands && *stands == 0 ? co_await s->blobs->append(digest, 0, first, false) : stands;
    if (sent) {
      const std::string_view rest = std::string_view(bytes).substr(*sent);
      sent = co_await s->blobs->append(digest, *sent, rest, true);
    }
    if (!sent) {
      outcome = sent.error();
      continue;
    }
    acks->say("blob " + std::to_string(now_us()) + " " + std::to_string(n));
    auto published = co_await s->catalog->publish(draft_of(n), s->clock->wall());
    outcome = published ? Result<>(ok) : published.error();
    if (!published) continue;
    acks->say("revision " + std::to_string(now_us()) + " " + std::to_string(n) + " " +
              std::to_string((*published)->number));
    break;
  }
  co_return outcome;
}

asio::awaitable<Result<>> call(State* s, const Acks* acks, int n) {
  const ledger::Receipt receipt = receipt_of(n, s->clock->wall());
  s->ledger->begin(receipt.begun);
  if (auto begun = s->ledger->flush(); !begun) co_return begun;
  s->ledger->end(receipt);
  if (auto ended = s->ledger->flush(); !ended) co_return ended;
  acks->say("receipt " + std::to_string(now_us()) + " " + receipt.begun.key.id.text());
  co_return ok;
}

asio::awaitable<Result<>> write(State* s, const Acks* acks, int calls, bool catalog_only) {
  for (int n = 1; n <= calls; ++n) {
    if (n % 10 == 0 || catalog_only) {
      if (auto deployed = co_await deploy(s, acks, n); !deployed) co_return deployed;
    }
    if (catalog_only) continue;
    if (auto called = co_await call(s, acks, n); !called) co_return called;
    co_await s->clock->sleep_until(s->clock->now() + Duration(200));
  }
  co_return co_await s->ledger->close();
}

int write_all(const fs::path& dir, const char* acks_file, bool full, int calls) {
  State s;
  auto opened = open(s, dir, full ? store::Sync::full : store::Sync::normal);
  if (!opened) return std::printf("opening: %s\n", opened.error().message.c_str()), 1;
  const Acks acks(acks_file);
  auto done = asio::co_spawn(s.io, write(&s, &acks, calls, !full), asio::use_future);
  while (done.wait_for(std::chrono::seconds(0)) != std::future_status::ready) s.io.run_one();
  const auto outcome = done.get();
  if (!outcome) std::printf("stopped: %s\n", outcome.error().message.c_str());
  std::fflush(stdout);
  // Nothing is tidied up after a failure: what lies on the disk must be enough.
  if (!outcome) ::_exit(1);
  return 0;
}

struct Promised {
  std::map<int, int> revisions;  // Draft to number.
  std::vector<int> blobs;
  std::map<std::string, std::int64_t> receipts;  // Id to when.
};

// What was said after the power was cut does not count: nobody would have heard it. (A file system
// that is shut down by an ioctl may call a sync done whose journal it has just given up.)
Promised read_promised(const char* file, std::int64_t cut_us) {
  Promised promised;
  std::ifstream in(file);
  std::string kind, id;
  for (std::int64_t at_us = 0; in >> kind >> at_us;) {
    int n = 0, number = 0;
    if (kind == "receipt") {
      in >> id;
    } else {
      in >> n;
    }
    if (kind == "revision") in >> number;
    if (cut_us > 0 && at_us >= cut_us) continue;
    if (kind == "revision") promised.revisions[n] = number;
    if (kind == "blob") promised.blobs.push_back(n);
    if (kind == "receipt") promised.receipts[id] = at_us;
  }
  return promised;
}

std::string content(const fs::path& file) {
  std::ostringstream out;
  out << std::ifstream(file, std::ios::binary).rdbuf();
  return out.str();
}

int lost_blobs(State& s, const Promised& promised) {
  int lost = 0;
  for (const int n : promised.blobs) {
    const Digest digest = blobs::digest_of(bytes_of(n));
    lost += !s.blobs->size(digest) || blobs::digest_of(content(s.blobs->path(digest))) != digest;
  }
  return lost;
}

// Every file in the store is what its name says, promised or not.
int spoilt_blobs(const fs::path& dir) {
  int spoilt = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir / "blobs" / "sha256")) {
    if (!entry.is_regular_file()) continue;
    spoilt += blobs::digest_of(content(entry.path())).hex() != entry.path().filename().string();
  }
  return spoilt;
}

int lost_revisions(State& s, const Promised& promised) {
  int lost = 0;
  const catalog::Function* f = s.catalog->find("f");
  for (const auto& [n, number] : promised.revisions) {
    const auto known = f ? f->revisions.find(number) : decltype(f->revisions.end())();
    const bool kept = f && known != f->revisions.end() &&
                      known->second->digest == catalog::digest_of(draft_of(n));
    lost += !kept;
  }
  return lost;
}

int check(const fs::path& dir, const char* acks_file, std::int64_t cut_us) {
  State s;
  auto opened = open(s, dir, store::Sync::full);
  if (!opened) return std::printf("opening: %s\n", opened.error().message.c_str()), 1;
  const Promised promised = read_promised(acks_file, cut_us);
  std::map<std::string, int> kept;
  auto read = ledger::read_all(dir / "ledger", [&](const ledger::Begun*, const ledger::Receipt* r) {
    if (r && !r->interrupted) ++kept[r->begun.key.id.text()];
  });
  int old_lost = 0, young_lost = 0, twice = 0;
  std::int64_t oldest_us = 0;
  for (const auto& [id, at_us] : promised.receipts) {
    if (kept.contains(id)) continue;
    oldest_us = std::max(oldest_us, cut_us - at_us);
    ++(cut_us == 0 || at_us < cut_us - 100'000 ? old_lost : young_lost);
  }
  for (const auto& [id, count] : kept) twice += count > 1;
  const int blobs = lost_blobs(s, promised), spoilt = spoilt_blobs(dir);
  const int revisions = lost_revisions(s, promised);
  std::printf(
      "lost: revisions %d of %zu, blobs %d of %zu (%d spoilt), receipts %d old + %d younger than "
      "100 ms of %zu, oldest %lld us; twice %d\n",
      revisions, promised.revisions.size(), blobs, promised.blobs.size(), spoilt, old_lost,
      young_lost, promised.receipts.size(), static_cast<long long>(oldest_us), twice);
  if (!read) std::printf("ledger: %s\n", read.error().message.c_str());
  s.ledger.reset();
  return !read || blobs + spoilt + revisions + old_lost + twice > 0;
}

}  // namespace
}  // namespace dormouse

int main(int argc, char** argv) {
  const std::string mode = argc > 4 ? argv[1] : "";
  if (mode == "write") {
    const bool full = std::string_view(argv[4]) == "full";
    return dormouse::write_all(argv[2], argv[3], full, argc > 5 ? std::atoi(argv[5]) : 1'000'000);
  }
  if (argc == 5 && std::string_view(argv[1]) == "check")
    return dormouse::check(argv[2], argv[3], std::atoll(argv[4]));
  std::fprintf(stderr, "state_writer write DIR ACKS full|normal [CALLS] | check DIR ACKS CUT_US\n");
  return 2;
}
