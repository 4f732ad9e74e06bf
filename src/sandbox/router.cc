#include "sandbox/router.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "sandbox/files.h"

namespace dormouse::sandbox {
namespace {

namespace fs = std::filesystem;
using wire::Descriptor;

constexpr Duration filter_max = std::chrono::seconds(20);
constexpr int uplink_index = 2'000'000;
constexpr int link_index_first = 1'000'000;
constexpr int inner_index = 1'000'000;  // In a sandbox.
constexpr int link_prefix = 30;

std::string interface_of(const Estate& estate) {
  return "dm" + estate.id;
}
std::string table_of(const Estate& estate) {
  return "dormouse-" + estate.id;
}
fs::path mark_of(const Estate& estate) {
  return estate.state_dir / "network";
}
std::string link_name(std::size_t number) {
  return "sb" + std::to_string(number);
}

Descriptor this_network() {
  return Descriptor(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

std::uint32_t wish_of(const std::string& id) {
  std::uint32_t wish = 0;
  std::from_chars(id.data(), id.data() + std::min<std::size_t>(id.size(), 8), wish, 16);
  return wish;
}

std::string what_lies_in(int file) {
  char text[2048];
  const ssize_t size = pread(file, text, sizeof(text), 0);
  const std::string all(text, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return all.substr(0, all.find('\n'));
}

// In the network namespace where the calling thread is.
Result<> run_filter(const std::string& program, const std::string& rules) {
  const Descriptor input(memfd_create("rules", MFD_CLOEXEC));
  const Descriptor output(memfd_create("said", MFD_CLOEXEC));
  const auto size = static_cast<ssize_t>(rules.size());
  if (!input || !output || pwrite(input.number(), rules.data(), rules.size(), 0) != size) {
    return system_error(Code::unavailable, "handing rules to nft");
  }
  Command command;
  command.program = program;
  command.argv = {program, "-f", "-"};
  command.input = input.number();
  command.output = output.number();
  auto running = spawn(command);
  if (!running) return running.error();
  auto ended = wait_for(*running, filter_max);
  if (!ended) {
    kill_process(*running);
    wait_for(*running, filter_max);
    return Error{Code::unavailable, "nft did not come to an end"};
  }
  if (!ended->signalled && ended->number == 0) return ok;
  const std::string said = what_lies_in(output.number());
  return Error{Code::unavailable, said.empty() ? "nft does not run" : "nft refused: " + said};
}

Result<std::string> find_filter() {
  auto found = find_program("nft");
  if (found) return found;
  return Error{Code::unavailable, "nft is not installed (`apt-get install nftables`)"};
}

bool is_on(const fs::path& setting) {
  const auto text = read_text(setting);
  return text && *text == "1";
}

// Answers come in by the interface that leads to the world: it must pass on what is not its own.
Result<> check_forwarding() {
  if (is_on("/proc/sys/net/ipv4/ip_forward")) return ok;
  return Error{Code::unavailable,
               "this host does not forward IPv4, so no answer would come back; allow it with "
               "`sysctl -w net.ipv4.ip_forward=1`"};
}

}  // namespace

Result<> check_network() {
  const auto program = find_filter();
  if (!program) return program.error();
  if (auto forwards = check_forwarding(); !forwards) return forwards;
  enum Lacks : std::uint8_t { nothing, network_namespace, veth, filter };
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNET) != 0) _exit(network_namespace);
    const Descriptor here = this_network();
    auto routes = RouteSocket::open();
    const Veth pair{.name = "a", .peer_name = "b", .peer_namespace = here.number()};
    if (!routes || !routes->make_veth(pair)) _exit(veth);
    _exit(run_filter(*program, router_rules()) ? nothing : filter);
  }
  int status = 1;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
    return Error{Code::unavailable, "it could not be tried"};
  }
  switch (WEXITSTATUS(status)) {
    case nothing: return ok;
    case network_namespace: return Error{Code::unavailable, "no network namespace can be made"};
    case veth: return Error{Code::unavailable, "no pair of veth interfaces can be made"};
    default: return Error{Code::unavailable, "the kernel has no nf_tables, or not all it takes"};
  }
}

Router::~Router() {
  end();
}

// Does `work` in the host's namespace.
Result<> Router::at_home(auto work) {
  CHECK(setns(host_namespace_.number(), CLONE_NEWNET) == 0);
  Result<> done = work();
  CHECK(setns(own_namespace_.number(), CLONE_NEWNET) == 0);
  return done;
}

Result<> Router::filter(const std::string& rules) {
  return run_filter(nft_, rules);
}

Result<> Router::begin() {
  auto program = find_filter();
  if (!program) return program.error();
  nft_ = *program;
  host_namespace_ = this_network();
  if (!host_namespace_) return system_error(Code::unavailable, "the host's network namespace");
  auto host_routes = RouteSocket::open();
  if (!host_routes) return host_routes.error();
  if (auto marked = write_text(mark_of(*estate_), interface_of(*estate_)); !marked) return marked;
  if (unshare(CLONE_NEWNET) != 0) return system_error(Code::unavailable, "a network namespace");
  own_namespace_ = this_network();
  if (!own_namespace_) {
    const Error lost = system_error(Code::unavailable, "the router's network namespace");
    CHECK(setns(host_namespace_.number(), CLONE_NEWNET) == 0);
    return lost;
  }
  host_routes_.push_back(std::move(*host_routes));
  auto routes = RouteSocket::open();
  Result<> made = routes ? ok : Result<>(routes.error());
  if (made) routes_.push_back(std::move(*routes));
  if (made) made = write_text("/proc/sys/net/ipv4/ip_forward", "1");
  // Every denial is said; the kernel would leave most of them out, and who asked would wait.
  if (made) made = write_text("/proc/sys/net/ipv4/icmp_ratelimit", "0");
  if (made) made = filter(router_rules());
  if (made) made = make_uplink();
  if (!made) end();
  return made;
}

Result<> Router::make_uplink() {
  const std::string name = interface_of(*estate_);
  std::optional<Link> link;
  // The rules first: nothing comes before they hold.
  auto prepare = [&]() -> Result<> {
    const auto routes = read_text("/proc/thread-self/net/route");
    if (!routes) return routes.error();
    link = free_link(*routes, wish_of(estate_->id));
    if (!link) return Error{Code::unavailable, "every address of 198.18.0.0/16 is in use"};
    const std::string table = table_of(*estate_);
    host_rules_ = without_table_rules(table) + host_rules(table, name, link->inner);
    return filter(host_rules_);
  };
  if (auto prepared = at_home(prepare); !prepared) return prepared;
  if (auto removed = host_routes_.front().remove_link(name); !removed) return removed;
  const Veth veth{.name = router_uplink,
                  .index = uplink_index,
                  .peer_name = name,
                  .peer_namespace = host_namespace_.number()};
  RouteSocket& routes = routes_.front();
  Result<> done = routes.make_veth(veth);
  if (done) done = routes.bring_up(uplink_index);
  if (done) done = routes.add_address(uplink_index, link->inner, link_prefix);
  if (!done) return done;
  auto connect = [&]() -> Result<> {
    const int index = static_cast<int>(if_nametoindex(name.c_str()));
    RouteSocket& home = host_routes_.front();
    Result<> made = home.bring_up(index);
    if (made) made = home.add_address(index, link->outer, link_prefix);
    // Of our own interface alone; what the others do is the operator's to say.
    if (made) made = write_text("/proc/sys/net/ipv4/conf/" + name + "/forwarding", "1");
    return made;
  };
  if (auto connected = at_home(connect); !connected) return connected;
  return routes.add_default_route(link->outer);
}

// Back in the host's namespace, with nothing left in it.
void Router::end() {
  if (!own_namespace_) return;
  if (!host_routes_.empty()) (void)host_routes_.front().remove_link(interface_of(*estate_));
  host_routes_.clear();
  routes_.clear();
  policies_.clear();
  attached_.clear();
  CHECK(setns(host_namespace_.number(), CLONE_NEWNET) == 0);
  own_namespace_ = Descriptor();
  (void)remove_network(*estate_);
}

Result<> Router::make_room() {
  if (policies_.size() < policies_max) return ok;
  std::string rules;
  for (const auto& [_, policy] : policies_) {
    if (policy.users == 0) rules += without_policy_rules(policy.group);
  }
  if (rules.empty()) return Error{Code::overloaded, "too many different networks are in use"};
  if (auto removed = filter(rules); !removed) return removed;
  std::erase_if(policies_, [](const auto& each) { return each.second.users == 0; });
  return ok;
}

Result<Router::Policy*> Router::policy_of(const Reach& reach) {
  const std::string what = policy_rules(0, reach);
  if (const auto known = policies_.find(what); known != policies_.end()) return &known->second;
  if (auto room = make_room(); !room) return room.error();
  const std::uint32_t group = ++groups_made_;
  if (auto made = filter(policy_rules(group, reach)); !made) return made.error();
  return &policies_.emplace(what, Policy{group}).first->second;
}

Result<> Router::attach(const Process& first, std::size_t number, const Reach& reach) {
  CHECK(number < linked_sandboxes_max && !attached_.contains(number));
  if (!own_namespace_) {
    if (auto begun = begin(); !begun) return begun;
  }
  if (auto forwards = at_home(check_forwarding); !forwards) return forwards;
  if (auto kept = keep_host_rules(); !kept) return kept;
  const auto policy = policy_of(reach);
  if (!policy) return policy.error();
  attached_[number] = {policy_rules(0, reach), fresh_place()};
  ++(*policy)->users;
  auto linked = link(first, number, (*policy)->group);
  if (!linked) detach(number);
  return linked;
}

// Whoever loads the host's rules anew (`flush ruleset`) takes ours with them, and with them what
// keeps sandboxes from the node's own addresses.
Result<> Router::keep_host_rules() {
  return at_home([this]() -> Result<> {
    if (filter("list table inet " + table_of(*estate_) + "\n")) return ok;
    return filter(host_rules_);
  });
}

// Not one that was left just now: flows of whoever had it may still be known, and be answered.
std::size_t Router::fresh_place() {
  const auto is_used = [&](const auto& each) { return each.second.place == places_used_; };
  do {
    places_used_ = (places_used_ + 1) % linked_sandboxes_max;
  } while (std::ranges::any_of(attached_, is_used));
  return places_used_;
}

Result<> Router::link(const Process& first, std::size_t number, std::uint32_t group) {
  if (setns(first.handle.number(), CLONE_NEWNET) != 0) {
    return system_error(Code::unavailable, "entering a sandbox's network");
  }
  const Descriptor inside = this_network();
  auto inner_routes = RouteSocket::open();
  CHECK(setns(own_namespace_.number(), CLONE_NEWNET) == 0);
  if (!inside || !inner_routes) return Error{Code::unavailable, "opening a sandbox's network"};
  const Link addresses = link_of_sandbox(attached_.at(number).place);
  const int index = link_index_first + static_cast<int>(number);
  const Veth veth{.name = link_name(number),
                  .index = index,
                  .group = group,
                  .peer_name = "eth0",
                  .peer_index = inner_index,
                  .peer_namespace = inside.number()};
  RouteSocket& outer = routes_.front();
  Result<> done = outer.make_veth(veth);
  if (done) done = outer.bring_up(index);
  if (done) done = outer.add_address(index, addresses.outer, link_prefix);
  if (done) done = inner_routes->bring_up(inner_index);
  if (done) done = inner_routes->add_address(inner_index, addresses.inner, link_prefix);
  if (done) done = inner_routes->add_default_route(addresses.outer);
  return done;
}

void Router::detach(std::size_t number) {
  const auto found = attached_.find(number);
  if (found == attached_.end()) return;
  // Were it to fail, the number's next sandbox would not be attached, and say why.
  (void)routes_.front().remove_link(link_name(number));
  --policies_.at(found->second.policy).users;
  attached_.erase(found);
}

Result<> remove_network(const Estate& estate) {
  std::error_code failed;
  if (!fs::exists(mark_of(estate), failed)) return ok;
  auto routes = RouteSocket::open();
  if (!routes) return routes.error();
  if (auto removed = routes->remove_link(interface_of(estate)); !removed) return removed;
  const auto program = find_filter();
  if (!program) return program.error();  // The mark stays, for when there is one again.
  auto removed = run_filter(*program, without_table_rules(table_of(estate)));
  if (!removed) return removed;
  fs::remove(mark_of(estate), failed);
  return ok;
}

std::string hosts_text(const Reach& reach) {
  std::string text = "127.0.0.1 localhost\n";
  for (const auto& [name, address] : reach.names) text += address.text() + " " + name + "\n";
  return text;
}

std::string resolv_text(const Reach& reach) {
  std::string text;
  if (!reach.world) return text;
  for (const Ipv4 each : reach.resolvers) text += "nameserver " + each.text() + "\n";
  return text;
}

std::vector<Ipv4> public_resolvers() {
  std::vector<Ipv4> found;
  // What systemd's own resolver, at an address of the loopback, asks in its turn.
  for (const char* file : {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}) {
    for (const Ipv4 each : nameservers_in(read_text(file).value_or(""))) {
      if (private_range_of(each) == nullptr && std::ranges::find(found, each) == found.end()) {
        found.push_back(each);
      }
    }
  }
  return found;
}

}  // namespace dormouse::sandbox
