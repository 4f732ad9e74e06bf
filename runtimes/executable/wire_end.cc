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

int WireEnd::tell_init_failed(const Error& why) {
  post(wire::Type::init_failed, 0, wire::encode(wire::Failure{why.code, why.message}));
  (void)flush();
  return 1;
}

Result<std::optional<wire::Options>> await_load(wire::FrameReceiver& receiver) {
  const auto frame = receiver.receive();
  if (!frame) return frame.error();
  CHECK(*frame);  // The socket blocks.
  if ((*frame)->header.type == wire::Type::drain) return std::optional<wire::Options>();
  if ((*frame)->header.type != wire::Type::load) {
    return Error{Code::invalid_argument, "a frame before load"};
  }
  auto load = wire::decode_load((*frame)->payload);
  if (!load) return load.error();
  return std::optional(std::move(load->options));
}

}  // namespace dormouse::executable
