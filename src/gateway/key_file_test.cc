#include "gateway/key_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <filesystem>
#include <fstream>

#include "async/sim_clock.h"
#include "async/task_group.h"

namespace dormouse::gateway {
namespace {

namespace fs = std::filesystem;

struct World {
  World() {
    char name[] = "/tmp/dormouse-keys-XXXXXX";
    CHECK(mkdtemp(name));
    dir = name;
  }
  ~World() {
    tasks.cancel();
    io.restart();
    io.run();
    fs::remove_all(dir);
  }
  // As an editor does: another file in its place, so that also its inode differs.
  void write(const std::string& text) {
    std::ofstream(dir / "new") << text;
    fs::rename(dir / "new", file());
  }
  void begin() {
    CHECK(keys.open(file()));
    tasks.spawn(keys.refresh_every_second(&clock));
  }
  void pass_a_second() { clock.run_until(clock.now() + std::chrono::milliseconds(1100)); }
  bool opens(const FreshKey& key) const {
    http::Fields fields;
    fields.add("x-api-key", key.key);
    return keys.keys()->accept(fields);
  }
  std::string file() const { return dir / "keys"; }

  fs::path dir;
  asio::io_context io;
  async::SimClock clock{io};
  async::TaskGroup tasks{io.get_executor()};
  KeyFile keys;
  const FreshKey first = make_key({1}), second = make_key({2}, Signs::yes);
};

TEST(KeyFile, IsReadAgainWhenItChanges) {
  World world;
  world.write(world.first.line + "\n");
  world.begin();
  EXPECT_TRUE(world.opens(world.first));
  EXPECT_FALSE(world.opens(world.second));

  std::ofstream(world.file(), std::ios::app) << world.second.line << "\n";
  world.pass_a_second();
  EXPECT_TRUE(world.opens(world.first));
  EXPECT_TRUE(world.opens(world.second));
  EXPECT_TRUE(world.keys.keys()->signs());

  const Keys before = *world.keys.keys();  // Of a check that goes on elsewhere.
  world.write(world.second.line + "\n");
  world.pass_a_second();
  EXPECT_FALSE(world.opens(world.first));
  EXPECT_TRUE(world.opens(world.second));
  EXPECT_FALSE(before.empty());
}

TEST(KeyFile, ThatIsGoneOrBadChangesNothing) {
  World world;
  world.write(world.first.line + "\n");
  world.begin();
  for (const char* bad : {"", "# none\n", "sha256:short\n"}) {
    world.write(bad);
    world.pass_a_second();
    EXPECT_FALSE(world.keys.keys()->empty()) << bad;
    EXPECT_TRUE(world.opens(world.first)) << bad;
  }
  fs::remove(world.file());
  world.pass_a_second();
  EXPECT_FALSE(world.keys.keys()->empty());
  EXPECT_TRUE(world.opens(world.first));
  world.write(world.second.line + "\n");
  world.pass_a_second();
  EXPECT_FALSE(world.opens(world.first));
  EXPECT_TRUE(world.opens(world.second));
}

TEST(KeyFile, MustBeThereAtFirstAndNoneMeansNoKeys) {
  World world;
  EXPECT_EQ(KeyFile().open(world.file()).error().code, Code::not_found);
  KeyFile none;
  ASSERT_TRUE(none.open(""));
  none.refresh();
  EXPECT_TRUE(none.keys()->empty());
}

}  // namespace
}  // namespace dormouse::gateway
