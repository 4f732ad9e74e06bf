// What a Lease and the fleet share: the connection that the call goes over, and how it ended. Both
// sides run on one executor.
#pragma once

#include <memory>

#include "fleet/fleet.h"
#include "fleet/settlement.h"
#include "http/upstream.h"
#include "scheduling/scheduler.h"

namespace dormouse::fleet {

class Hold final : public Settlement {
 public:
  Hold(scheduling::InstanceKey instance, TimePoint deadline)
      : instance_(instance), deadline_(deadline) {}

  scheduling::InstanceKey instance() const { return instance_; }
  TimePoint deadline() const { return deadline_; }
  Lease::Traffic& traffic() { return traffic_; }
  std::uint64_t request_bytes() const override { return traffic_.request_bytes; }
  std::uint64_t response_bytes() const override { return traffic_.response_bytes; }
  http::Upstream* connection() { return connection_.get(); }
  void connect(std::unique_ptr<http::Upstream> to) { connection_ = std::move(to); }
  std::unique_ptr<http::Upstream> take_connection() { return std::move(connection_); }

  // Its call is not on record: nothing may be sent.
  void bar() { barred_ = true; }
  bool barred() const { return barred_; }

  void let_go() { let_go_ = true; }  // Its holder says that it ends.
 private:
  void told() override {
    if (!let_go_ && connection_) connection_->shut();
  }

  const scheduling::InstanceKey instance_;
  const TimePoint deadline_;
  Lease::Traffic traffic_;
  std::unique_ptr<http::Upstream> connection_;
  bool barred_ = false;
  bool let_go_ = false;
};

}  // namespace dormouse::fleet
