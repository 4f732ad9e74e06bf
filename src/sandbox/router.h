// The way out of sandboxes that may reach a network: a network namespace of this launcher's own,
// between theirs and the host's. Nothing else is in it.
//
//   sandbox 7            router                                host
//   eth0 198.19.0.30 ─── sb7 198.19.0.29 … up 198.18.4.2 ───── dm<id> 198.18.4.1, and on by NAT
//
// The router's packet filter holds the policies, by groups of interfaces: giving a sandbox a way
// out touches no rule, once its policy is known. The host's keeps the router from the host itself.
//
// Ownership  The namespace is held by this process alone: with it go all interfaces of it and the
//            host's towards it, however the process ends. The host's table stays then;
//            remove_network() takes it away.
// Threads    One, for good: the first attach() takes it into the router's namespace.
// Errors     unavailable if the host lacks what this needs, with what to do. Nothing is left then.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sandbox/estate.h"
#include "sandbox/network_rules.h"
#include "sandbox/route_socket.h"
#include "sandbox/sandbox.h"
#include "sandbox/spawn.h"

namespace dormouse::sandbox {

class Router {
 public:
  static constexpr std::size_t policies_max = 512;  // At a time. Unused ones make room.

  explicit Router(const Estate* estate) : estate_(estate) {}
  ~Router();

  // `first`: the sandbox's first process. `number`: of no other sandbox that is attached.
  Result<> attach(const Process& first, std::size_t number, const Reach&);
  void detach(std::size_t number);  // Also if it was not attached, or not wholly.

 private:
  struct Policy {
    std::uint32_t group = 0;
    std::int32_t users = 0;
  };

  Result<> begin();
  Result<> make_uplink();
  void end();
  Result<Policy*> policy_of(const Reach&);
  Result<> make_room();
  std::size_t fresh_place();
  Result<> keep_host_rules();
  Result<> link(const Process& first, std::size_t number, std::uint32_t group);
  Result<> at_home(auto work);
  Result<> filter(const std::string& rules);

  const Estate* const estate_;
  std::string nft_;
  wire::Descriptor host_namespace_, own_namespace_;
  std::vector<RouteSocket> host_routes_, routes_;  // One each, while there is a namespace.
  std::map<std::string, Policy> policies_;         // By what they allow, as text.
  struct Attached {
    std::string policy;
    std::size_t place = 0;  // Of its link's addresses.
  };
  std::map<std::size_t, Attached> attached_;  // By number.
  std::uint32_t groups_made_ = 0;
  std::size_t places_used_ = 0;
  std::string host_rules_;  // As they were made.
};

// What an earlier owner of the estate left on the host.
Result<> remove_network(const Estate&);

// What keeps this host from letting sandboxes out; ok if nothing does. Tries it in a child.
Result<> check_network();

// For a sandbox's /etc/hosts and /etc/resolv.conf. Pure.
std::string hosts_text(const Reach&);
std::string resolv_text(const Reach&);

// Those of the host's nameservers that are the world's.
std::vector<Ipv4> public_resolvers();

}  // namespace dormouse::sandbox
