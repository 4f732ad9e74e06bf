#include <netdb.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "sandbox/bundle.h"
#include "sandbox/launch.h"
#include "sandbox/linux_sandbox.h"

namespace dormouse::sandbox {
namespace {

bool is_of_this_host(Ipv4 address) {
  const wire::Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(address.number);
  return bind(socket.number(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0;
}

Result<std::vector<Ipv4>> addresses_of(const std::string& name) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(name.c_str(), nullptr, &hints, &found);
  if (failed != 0) {
    const bool unknown = failed == EAI_NONAME || failed == EAI_NODATA;
    return Error{unknown ? Code::invalid_argument : Code::unavailable, gai_strerror(failed)};
  }
  std::vector<Ipv4> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    sockaddr_in address{};
    std::memcpy(&address, each->ai_addr, std::min<std::size_t>(sizeof(address), each->ai_addrlen));
    addresses.push_back({ntohl(address.sin_addr.s_addr)});
  }
  freeaddrinfo(found);
  for (const Ipv4 each : addresses) {
    if (!is_of_this_host(each)) continue;
    return Error{Code::invalid_argument,
                 each.text() + " is this node's own, which no function may reach"};
  }
  return addresses;
}

// A sandbox that is a template has some eighty descriptors here, with its spare forks and slots;
// and clients want theirs.
std::uint32_t sandboxes_max(std::uint32_t ranges) {
  constexpr rlim_t descriptors_each = 128, at_least = 64;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  const rlim_t can_be_had = std::max(at_least, files.rlim_cur / descriptors_each);
  return static_cast<std::uint32_t>(std::min<rlim_t>(ranges, can_be_had));
}

class LinuxLauncher final : public Launcher {
 public:
  LinuxLauncher(asio::any_io_executor executor, LauncherOptions options, Estate estate)
      : executor_(std::move(executor)),
        options_(std::move(options)),
        workshop_(std::move(estate), sandboxes_max(options_.host_uid_count), options_.resolvers) {}

  // After every sandbox that is being taken away.
  ~LinuxLauncher() override {
    workshop_.removing.give([estate = &workshop_.estate] { remove_common_group(*estate); });
  }

  asio::awaitable<Result<std::unique_ptr<Sandbox>>> launch(Spec spec) override {
    const auto range = take_uid_range();
    if (!range) {
      co_return Error{Code::overloaded, std::to_string(workshop_.uid_ranges_taken.size()) +
                                            " sandboxes are there, as many as this node may have"};
    }
    const std::string name = workshop_.estate.id + "-" + std::to_string(++count_);
    const std::uint32_t uid =
        options_.host_uid_first + static_cast<std::uint32_t>(*range) * host_uids_each;
    auto work = [this, name, spec = std::move(spec), uid, range = *range] {
      auto launched = launch_program(workshop_.estate, name, spec, uid);
      if (!launched) workshop_.uid_ranges_taken[range] = false;
      return std::make_shared<Result<Launched>>(std::move(launched));
    };
    const auto launched = co_await workshop_.starting.run(std::move(work));
    if (!*launched) co_return launched->error();
    co_return linux_sandbox(executor_, &workshop_, name, {*range, uid}, std::move(**launched));
  }

  asio::awaitable<Result<std::vector<Ipv4>>> resolve(std::string name) override {
    auto work = [name = std::move(name)] { return addresses_of(name); };
    return workshop_.naming.run(std::move(work));
  }

 private:
  std::optional<std::size_t> take_uid_range() {
    for (std::size_t range = 0; range < workshop_.uid_ranges_taken.size(); ++range) {
      if (!workshop_.uid_ranges_taken[range].exchange(true)) return range;
    }
    return std::nullopt;
  }

  asio::any_io_executor executor_;
  const LauncherOptions options_;
  Workshop workshop_;
  std::uint64_t count_ = 0;
};

// Sandboxes inherit it, and cannot raise it: what they may lock is limited by their control groups,
// as is all their memory. Without the right to do so it is as high as it may be.
void lift_memlock() {
  const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_MEMLOCK, &none) == 0) return;
  rlimit most{};
  getrlimit(RLIMIT_MEMLOCK, &most);
  most.rlim_cur = most.rlim_max;
  (void)setrlimit(RLIMIT_MEMLOCK, &most);
}

}  // namespace

Result<std::unique_ptr<Launcher>> linux_launcher(asio::any_io_executor executor, async::Clock*,
                                                 LauncherOptions options) {
  auto estate = open_estate(options);
  if (!estate) return std::move(estate).error().during("sandboxes");
  if (auto removed = remove_every_sandbox(*estate); !removed) {
    return std::move(removed).error().during("cleaning up after an earlier owner");
  }
  // Rules that would not go are of an interface that is gone: no reason not to start.
  (void)remove_network(*estate);
  // The OCI runtime starts a sandbox's first process and ends; this makes us its next parent, so
  // that nobody else can reap it and its exit status reaches us.
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return system_error(Code::unavailable, "prctl");
  lift_memlock();
  return std::make_unique<LinuxLauncher>(std::move(executor), std::move(options),
                                         std::move(*estate));
}

}  // namespace dormouse::sandbox
