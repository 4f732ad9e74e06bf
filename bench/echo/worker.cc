// A runtime that answers every invocation with its own body: what the platform costs, and no more.
#include <algorithm>

#include "wire/worker.h"

namespace dormouse::bench {
namespace {

class Echo final : public wire::Program {
 public:
  wire::Hello hello() override { return {.runtime = "echo", .runtime_version = "1"}; }
  Result<wire::Prepared> prepare(const wire::Load&) override { return wire::Prepared{}; }
  Result<wire::Ready> load(const wire::Load&) override { return wire::Ready{.platform = "echo"}; }

  Result<wire::Reply> invoke(wire::Invocation& invocation) override {
    const Bytes body = invocation.body();
    const auto room = invocation.make_room(body.size());
    if (!room) return room.error();
    std::ranges::copy(body, room->begin());
    return wire::Reply{.content = invocation.item().content};
  }
};

}  // namespace
}  // namespace dormouse::bench

int main() {
  dormouse::bench::Echo echo;
  return dormouse::wire::serve(echo);
}
