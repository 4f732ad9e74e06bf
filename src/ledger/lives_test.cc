// What the ledger promises, over lives of a process that are killed or end by a power cut, on a
// disk that is full now and then. From seeds.
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <mutex>
#include <random>

#include "ledger/fake_world.h"
#include "ledger/tail.h"

namespace dormouse::ledger {
namespace {

// How much of each file a power cut leaves for sure.
class Synced {
 public:
  void note(int file) {
    struct stat found{};
    char name[512] = {};
    const auto link = "/proc/self/fd/" + std::to_string(file);
    CHECK(::fstat(file, &found) == 0 && ::readlink(link.c_str(), name, sizeof name - 1) > 0);
    const std::scoped_lock lock(mutex_);
    bytes_[name] = static_cast<std::uint64_t>(found.st_size);
  }
  std::uint64_t of(const fs::path& file) {
    const std::scoped_lock lock(mutex_);
    return bytes_[file.string()];
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::uint64_t> bytes_;
};

Synced& synced() {
  static Synced only;
  return only;
}

enum class Fate { begun, ended, synced };  // As far as it is on record.

class Lives {
 public:
  explicit Lives(std::uint32_t seed, Options options) : random_(seed), world(std::move(options)) {}

  void live() {
    remember();
    for (std::uint32_t left = 40 + below(120); left > 0; --left) {
      act();
      if (below(3) == 0) remember();
    }
    if (below(3) == 0) rest();
    remember();
  }

  // Some of what was to be written may be there.
  void kill() {
    world.crash();
    const Tail::Left left = *Tail::left_in(world.options.dir);
    const std::string batch = batch_of(left);
    for (const fs::path& segment : world.segments()) {
      const bool is_its = std::stoul(segment.filename()) == left.place.segment;
      if (!is_its || fs::file_size(segment) != left.place.offset) continue;
      std::ofstream(segment, std::ios::binary | std::ios::app)
          << std::string_view(batch).substr(0, below(batch.size() + 1));
    }
    start(true);
  }

  // Of a segment there is what was synced and some of the rest, of the tail pages of any moments.
  void cut_power() {
    world.crash();
    for (const fs::path& segment : world.segments()) {
      const std::uint64_t size = fs::file_size(segment);
      const std::uint64_t sure = std::min(size, synced().of(segment));
      fs::resize_file(segment, below(3) == 0 ? sure : sure + below(size - sure + 1));
    }
    std::fstream tail(world.options.dir / "tail", std::ios::in | std::ios::out | std::ios::binary);
    for (std::size_t at = 0; at < pages; at += page) {
      const std::string& then = moments_[below(moments_.size())];
      if (then.size() < at + page) continue;
      tail.seekp(static_cast<std::streamoff>(at));
      tail.write(then.data() + at, page);
    }
    tail.close();
    start(false);
  }

 private:
  static constexpr std::size_t page = 4096, pages = 8 * page;

  std::size_t below(std::size_t end) { return random_() % end; }

  void act() {
    switch (below(9)) {
      case 0:
      case 1:
      case 2: return begin(1 + below(5));
      case 3: return begin(1 + below(20'000));
      case 4:
      case 5:
      case 6: return end();
      case 7: return pass(std::chrono::milliseconds(below(60)));
      default: return below(6) == 0 ? turn_the_disk() : void();
    }
  }

  void begin(std::size_t name_bytes) {
    const std::uint64_t n = ++calls_;
    world.ledger->begin(world.begun(n, std::string(name_bytes, 'f')));
    names_[n] = name_bytes;
    if (world.ledger->flush()) {
      fates_[n] = Fate::begun;
      running_.push_back(n);
    }
  }

  void end() {
    if (running_.empty()) return;
    const auto which = running_.begin() + static_cast<std::ptrdiff_t>(below(running_.size()));
    const std::uint64_t n = *which;
    running_.erase(which);
    world.ledger->end(world.receipt(n, std::string(names_[n], 'f')));
    if (world.ledger->flush()) fates_[n] = Fate::ended;
  }

  void pass(Duration time) {
    world.clock->run_until(world.clock->now() + time);
    usleep(200);  // The ledger's thread gets a moment.
  }

  // Until all is synced, if there is room.
  void rest() {
    for (int i = 0; i < 1000 && !full_ && !is_synced(); ++i) pass(100ms);
    if (!is_synced()) return;
    for (auto& [_, fate] : fates_) {
      if (fate == Fate::ended) fate = Fate::synced;
    }
  }

  bool is_synced() const {
    const auto segments = world.segments();
    return Tail::left_in(world.options.dir)->records.empty() &&
           std::ranges::all_of(segments, [](const fs::path& segment) {
             return synced().of(segment) == fs::file_size(segment);
           });
  }

  void turn_the_disk() {
    if (full_) return full_.reset();
    std::uintmax_t largest = 0;
    for (const auto& segment : world.segments()) {
      largest = std::max(largest, fs::file_size(segment));
    }
    full_.emplace(largest + below(600));
  }

  void remember() {
    std::string bytes(pages, '\0');
    std::ifstream tail(world.options.dir / "tail", std::ios::binary);
    tail.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<std::size_t>(tail.gcount()));
    moments_.push_back(std::move(bytes));
  }

  // Now and then a start finds no room, and dies of it.
  void start(bool keeps_all) {
    if (full_ && below(2) == 0) {
      world.start();
      world.crash();
    }
    full_.reset();
    world.start();
    ASSERT_EQ(world.problem, "");
    check(keeps_all);
  }

  void check(bool keeps_all) {
    std::map<std::uint64_t, int> begun, ended;
    std::map<std::uint64_t, bool> interrupted;
    const auto number = [](const Begun& of) {
      return static_cast<std::uint64_t>(of.at.unix_ms - 1'700'000'000'000);
    };
    const auto read = read_all(world.options.dir, [&](const Begun* b, const Receipt* r) {
      if (b != nullptr) ++begun[number(*b)];
      if (r == nullptr) return;
      ++ended[number(r->begun)];
      interrupted[number(r->begun)] = r->interrupted;
    });
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(begun, ended);  // Each of them once.
    for (const auto& [n, times] : ended) EXPECT_EQ(times, 1) << n;
    EXPECT_EQ(world.total().calls, static_cast<std::int64_t>(ended.size()));
    for (const auto& [n, fate] : fates_) {
      const bool is_sure = fate == Fate::synced || (keeps_all && fate == Fate::ended);
      if (is_sure) EXPECT_TRUE(ended.contains(n) && !interrupted[n]) << n;
      if (keeps_all) EXPECT_TRUE(ended.contains(n)) << n;
    }
    fates_.clear();
    for (const auto& [n, is_cut] : interrupted) {
      if (!is_cut) fates_[n] = Fate::synced;  // A start syncs all there is.
    }
    running_.clear();
  }

  std::mt19937 random_;
  World world;
  std::optional<FullDisk> full_;
  std::uint64_t calls_ = 0;
  std::map<std::uint64_t, Fate> fates_;
  std::map<std::uint64_t, std::size_t> names_;
  std::vector<std::uint64_t> running_;
  std::vector<std::string> moments_;
};

TEST(Ledger, KeepsItsPromisesOverManyLives) {
  for (std::uint32_t seed = 1; seed <= 40 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Lives lives(seed, {.segment_bytes_max = random() % 2 ? 6'000 : std::uint64_t{64} << 20,
                       .has_tail = random() % 4 > 0});
    for (int life = 0; life < 4 && !testing::Test::HasFailure(); ++life) {
      SCOPED_TRACE(life);
      lives.live();
      random() % 3 == 0 ? lives.kill() : lives.cut_power();
    }
  }
}

}  // namespace
}  // namespace dormouse::ledger

extern "C" int fdatasync(int file) {
  dormouse::ledger::synced().note(file);
  return static_cast<int>(::syscall(SYS_fdatasync, file));
}
