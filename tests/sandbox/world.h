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
  std::string refusal(Spec spec);  // Of one that is not to be launched.
  Report to_the_end(Spec spec);
  Report to_the_end(Sandbox& sandbox);
  std::string wait_for_output(Sandbox& sandbox, const std::string& text);
  void end() { launcher_.reset(); }  // Blocks until everything is taken away.
  void begin();
  // What all its sandboxes hold of memory, whatever is in a tmpfs of theirs included. There must be
  // one, for the control group above them.
  std::uint64_t memory_bytes() const;

  asio::io_context io;
  std::filesystem::path state_dir;

 private:
  std::string oci_runtime_;
  std::unique_ptr<async::Clock> clock_;
  std::unique_ptr<Launcher> launcher_;
};

// The numbers of these system calls, with commas between them.
std::string numbers_of(std::span<const AllowedCall>);

// What a program fills with "fill KIND" in a sandbox or slot of `filled` limits, and how much it
// gets of it.
struct Quota {
  const char* kind;
  long most;  // Bytes, or files.
};
inline constexpr Limits filled{
    .memory_bytes_max = 64 << 20, .cpu_millicores_max = 1000, .tmp_bytes_max = 8 << 20};
inline constexpr Quota quotas[] = {
    {"bytes", 8 << 20}, {"inodes", 16 + (8 << 20) / 4096}, {"shm", 1 << 20}};

// `full` has been told to fill, and held so many bytes of memory before: waits until it was refused
// more. Nothing beyond the quota is held.
void expect_full(World&, Sandbox& full, const Quota&, std::uint64_t held_before);

// Looks for a fork bomb, as whoever has the sandbox work does, until it is ended as one; the others
// are not.
void mind(World&, Sandbox&, const std::vector<Sandbox*>& others = {});

// Waits until the World holds no more than before, but for what the kernel keeps for itself.
void expect_given_back(const World&, std::uint64_t held_before);

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
