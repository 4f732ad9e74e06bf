#include "wire/worker_end.h"

namespace dormouse::wire {

void WorkerEnd::post(Type type, std::uint64_t handle, std::string_view payload,
                     std::uint16_t flags) {
  append_frame(out_, type, flags, handle, payload);
}

Result<> WorkerEnd::flush() {
  while (!out_.empty()) {
    const auto sent = send_some(socket_, out_, {});
    if (!sent) return sent.error();
    if (*sent == 0) return ok;
    out_.erase(0, *sent);
  }
  return ok;
}

int WorkerEnd::tell_init_failed(const Error& why) {
  post(Type::init_failed, 0, encode(Failure{why.code, why.message}));
  (void)flush();
  return 1;
}

Result<std::optional<Options>> await_load(FrameReceiver& receiver) {
  const auto frame = receiver.receive();
  if (!frame) return frame.error();
  CHECK(*frame);  // The socket blocks.
  if ((*frame)->header.type == Type::drain) return std::optional<Options>();
  if ((*frame)->header.type != Type::load) {
    return Error{Code::invalid_argument, "a frame before load"};
  }
  auto load = decode_load((*frame)->payload);
  if (!load) return load.error();
  return std::optional(std::move(load->options));
}

}  // namespace dormouse::wire
