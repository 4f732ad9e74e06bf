// What a Lease and the fleet share: the connection that the call goes over, and how it ended. Both
// sides run on one executor.
#pragma once

#include <memory>

#include "fleet/settlement.h"
#include "http/upstream.h"
#include "scheduling/scheduler.h"

namespace dormouse::fleet {

class Hold final : public Settlement {
 public:
  explicit Hold(scheduling::InstanceKey instance) : instance_(instance) {}

  scheduling::InstanceKey instance() const { return instance_; }
  http::Upstream* connection() { return connection_.get(); }
  void connect(std::unique_ptr<http::Upstream> to) { connection_ = std::move(to); }
  std::unique_ptr<http::Upstream> take_connection() { return std::move(connection_); }

  // Its call is not on record: nothing may be sent.
  void bar() { barred_ = true; }
  bool barred() const { return barred_; }

  // Its holder says that it ends, and what went over the connection.
  void let_go(std::uint64_t request_bytes, std::uint64_t response_bytes) {
    let_go_ = true;
    request_bytes_ = request_bytes;
    response_bytes_ = response_bytes;
  }
  // Completes once it is on record; at once if the waiting coroutine is cancelled.
  asio::awaitable<void> recorded();

 private:
  void told() override {
    if (!let_go_ && connection_) connection_->shut();
  }

  const scheduling::InstanceKey instance_;
  std::unique_ptr<http::Upstream> connection_;
  bool barred_ = false;
  bool let_go_ = false;
};

}  // namespace dormouse::fleet
