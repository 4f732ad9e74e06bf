#include "sandbox/route_socket.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace dormouse::sandbox {
namespace {

constexpr std::uint16_t no_flags = 0;

// One message: a header, a fixed part, attributes that may hold attributes.
class Message {
 public:
  template <class Fixed>
  Message(std::uint16_t type, std::uint16_t flags, const Fixed& fixed) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST | NLM_F_ACK);
    put(header);
    put(fixed);
  }

  template <class Fixed>
  void put(const Fixed& fixed) {
    bytes_.append(reinterpret_cast<const char*>(&fixed), sizeof(fixed));
    align();
  }
  void attribute(std::uint16_t type, std::string_view content) {
    const std::size_t at = begin(type);
    bytes_.append(content);
    end(at);
  }
  void number(std::uint16_t type, std::uint32_t value) {
    attribute(type, {reinterpret_cast<const char*>(&value), sizeof(value)});
  }
  void text(std::uint16_t type, const std::string& value) {
    attribute(type, {value.c_str(), value.size() + 1});
  }
  void address(std::uint16_t type, Ipv4 value) { number(type, __builtin_bswap32(value.number)); }

  std::size_t begin(std::uint16_t type) {
    const std::size_t at = bytes_.size();
    put(rtattr{0, type});
    return at;
  }
  void end(std::size_t at) {
    const auto size = static_cast<std::uint16_t>(bytes_.size() - at);
    std::memcpy(bytes_.data() + at, &size, sizeof(size));
    align();
  }

  std::string take() {
    const auto size = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &size, sizeof(size));
    return std::move(bytes_);
  }

 private:
  void align() { bytes_.resize((bytes_.size() + 3) & ~std::size_t{3}); }
  std::string bytes_;
};

ifinfomsg interface(int index, bool up) {
  ifinfomsg fixed{};
  fixed.ifi_family = AF_UNSPEC;
  fixed.ifi_index = index;
  if (up) fixed.ifi_flags = fixed.ifi_change = IFF_UP;
  return fixed;
}

}  // namespace

Result<RouteSocket> RouteSocket::open() {
  wire::Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return system_error(Code::unavailable, "NETLINK_ROUTE");
  return RouteSocket(std::move(socket));
}

int RouteSocket::exchange(const std::string& message) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const ssize_t sent = sendto(socket_.number(), message.data(), message.size(), 0,
                              reinterpret_cast<const sockaddr*>(&kernel), sizeof(kernel));
  if (sent < 0) return errno;
  alignas(nlmsghdr) char answer[8192];
  ssize_t size = 0;
  while ((size = recv(socket_.number(), answer, sizeof(answer), 0)) < 0 && errno == EINTR) {
  }
  if (size < 0) return errno;
  if (size < static_cast<ssize_t>(sizeof(nlmsghdr) + sizeof(int))) return EPROTO;
  int error = 0;  // The acknowledgement begins with it, below 0.
  std::memcpy(&error, answer + sizeof(nlmsghdr), sizeof(error));
  return -error;
}

Result<> RouteSocket::ask(const std::string& message, std::string_view attempt) {
  const int error = exchange(message);
  if (error == 0) return ok;
  return system_error(error == EEXIST ? Code::conflict : Code::unavailable, attempt, error);
}

Result<> RouteSocket::make_veth(const Veth& veth) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, interface(veth.index, false));
  message.text(IFLA_IFNAME, veth.name);
  if (veth.group != 0) message.number(IFLA_GROUP, veth.group);
  const std::size_t about = message.begin(IFLA_LINKINFO);
  message.text(IFLA_INFO_KIND, "veth");
  const std::size_t details = message.begin(IFLA_INFO_DATA);
  const std::size_t peer = message.begin(VETH_INFO_PEER);
  message.put(interface(veth.peer_index, false));
  message.text(IFLA_IFNAME, veth.peer_name);
  message.number(IFLA_NET_NS_FD, static_cast<std::uint32_t>(veth.peer_namespace));
  message.end(peer);
  message.end(details);
  message.end(about);
  return ask(message.take(), "making the interface " + veth.name);
}

Result<> RouteSocket::remove_link(const std::string& name) {
  Message message(RTM_DELLINK, no_flags, interface(0, false));
  message.text(IFLA_IFNAME, name);
  const int error = exchange(message.take());
  if (error == 0 || error == ENODEV) return ok;
  return system_error(Code::unavailable, "removing the interface " + name, error);
}

// The kernel would give it an address of IPv6 by itself as it comes up, and announce it.
Result<> RouteSocket::bring_up(int index) {
  constexpr char none = IN6_ADDR_GEN_MODE_NONE;
  Message silence(RTM_NEWLINK, no_flags, interface(index, false));
  const std::size_t families = silence.begin(IFLA_AF_SPEC);
  const std::size_t ipv6 = silence.begin(AF_INET6);
  silence.attribute(IFLA_INET6_ADDR_GEN_MODE, {&none, 1});
  silence.end(ipv6);
  silence.end(families);
  const int error = exchange(silence.take());
  if (error != 0 && error != EAFNOSUPPORT) {  // A kernel without IPv6.
    return system_error(Code::unavailable, "keeping IPv6 from an interface", error);
  }
  Message up(RTM_NEWLINK, no_flags, interface(index, true));
  return ask(up.take(), "bringing an interface up");
}

Result<> RouteSocket::add_address(int index, Ipv4 address, int prefix) {
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = static_cast<std::uint8_t>(prefix);
  fixed.ifa_index = static_cast<std::uint32_t>(index);
  Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, fixed);
  message.address(IFA_LOCAL, address);
  message.address(IFA_ADDRESS, address);
  return ask(message.take(), "giving an interface the address " + address.text());
}

Result<> RouteSocket::add_default_route(Ipv4 gateway) {
  rtmsg fixed{};
  fixed.rtm_family = AF_INET;
  fixed.rtm_table = RT_TABLE_MAIN;
  fixed.rtm_protocol = RTPROT_STATIC;
  fixed.rtm_scope = RT_SCOPE_UNIVERSE;
  fixed.rtm_type = RTN_UNICAST;
  Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, fixed);
  message.address(RTA_GATEWAY, gateway);
  return ask(message.take(), "making the route by " + gateway.text());
}

}  // namespace dormouse::sandbox
