// Fills a data directory's catalog with functions that were never started: what a node looks like
// after many deploys, without the minutes that those take.
//
//   bench_fill DATA COUNT
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"
#include "catalog/catalog.h"
#include "ledger/ledger.h"
#include "wire/messages.h"

namespace dormouse::bench {
namespace {

catalog::Draft draft(int number) {
  catalog::Draft made;
  made.manifest.name = "sleeper-" + std::to_string(number);
  made.manifest.runtime = "echo";
  made.load_options = {{"threads", "1"}};
  made.ready.platform = "echo";
  return made;
}

asio::awaitable<void> fill(catalog::Catalog* catalog, int count) {
  for (int i = 0; i < count; ++i) {
    auto publishing = catalog->publish(draft(i), WallTime{1'700'000'000'000 + i});
    const auto published = co_await std::move(publishing);
    CHECK(published);
  }
}

void run(const std::filesystem::path& dir, int count) {
  std::filesystem::create_directories(dir);
  std::vector<store::Migration> migrations;
  for (const auto& list : {catalog::migrations(), ledger::migrations()}) {
    migrations.insert(migrations.end(), list.begin(), list.end());
  }
  const auto store = store::open(dir / "dormouse.db", migrations);
  CHECK(store);
  const auto catalog = catalog::open(store->get());
  CHECK(catalog);
  asio::io_context io;
  auto filled = asio::co_spawn(io, fill(catalog->get(), count), asio::use_future);
  io.run();
  filled.get();
}

}  // namespace
}  // namespace dormouse::bench

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: bench_fill DATA COUNT\n");
    return 2;
  }
  dormouse::bench::run(arguments[1], std::atoi(arguments[2]));
  return 0;
}
