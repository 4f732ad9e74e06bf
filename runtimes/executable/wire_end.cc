#include "runtimes/executable/wire_end.h"

namespace dormouse::executable {

void WireEnd::post(wire::Type type, std::uint64_t handle, std::string_view payload,
                   std::uint16_t flags) {
  wire::append_frame(out_, type, flags, handle, payload);
}

Result<> WireEnd::flush() {
  while (!out_.empty()) {
    const auto sent = wire::send_some(socket_, out_, {});
    if (!sent) return sent.error();
    if (*sent == 0) return ok;
    out_.erase(0, *sent);
  }
  return ok;
}

}  // namespace dormouse::executable
