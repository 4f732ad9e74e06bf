// Real sandboxes for the tests: a launcher on a state folder of its own, and what it left behind.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <filesystem>
#include <future>
#include <set>
#include <span>
#include <string>

#include "sandbox/sandbox.h"
#include "sandbox/seccomp.h"

namespace dormouse::sandbox {

template <class T>
T run(asio::io_context& io, asio::awaitable<T> work) {
  auto result = asio::co_spawn(io, std::move(work), asio::use_future);
  io.restart();
  while (result.wait_for(std::chrono::seconds(0)) != std::future_status::ready) io.run_one();
  return result.get();
}

struct Report {
  Ended ended{};
  Usage usage;
  std::string output;
  Duration launch{};

  int lines_with(const std::string& text) const;
  std::string first_line_with(const std::string& text) const;
};

inline constexpr Limits modest{.memory_bytes_max = 64 << 20, .cpu_millicores_max = 1000};

class World {
 public:
  explicit World(std::string oci_runtime = "runc");
  ~World();

  // The program that tries to escape, with these words.
  static Spec escape(std::vector<std::string> words, Limits limits = modest);
  std::unique_ptr<Sandbox> launch(Spec spec);
  Report to_the_end(Spec spec);
  Report to_the_end(Sandbox& sandbox);
  std::string wait_for_output(Sandbox& sandbox, const std::string& text);
  void end() { launcher_.reset(); }  // Blocks until everything is taken away.
  void begin();

  asio::io_context io;
  std::filesystem::path state_dir;

 private:
  std::string oci_runtime_;
  std::unique_ptr<async::Clock> clock_;
  std::unique_ptr<Launcher> launcher_;
};

// The numbers of these system calls, with commas between them.
std::string numbers_of(std::span<const AllowedCall>);

// How many to try: `usually` of them, or `nightly` with DORMOUSE_NIGHTLY=1; a tenth under
// sanitizers, which see nothing of the kernel's work, and with DORMOUSE_EMULATED=1.
int so_many(int usually, int nightly);

// Everything on this host that belongs to the owner of `state_dir`: processes, cgroups, mounts,
// sandboxes' folders, networks. Empty is how it should be.
std::set<std::string> left_by(const std::filesystem::path& state_dir);

// Runs in a process of its own that is killed: launches `count` sandboxes, says so, and waits.
int own_sandboxes(const char* state_dir, int count);

// As if it were an OCI runtime: writes its environment and its descriptors to <oci_root>/../seen.
int write_down_what_is_given(const char* oci_root);

}  // namespace dormouse::sandbox
