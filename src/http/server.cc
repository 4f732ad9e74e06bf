#include "http/server.h"

#include "http/acceptor.h"
#include "http/core.h"

namespace dormouse::http {
namespace {

class TcpServer final : public Server {
 public:
  TcpServer(std::shared_ptr<Core> core, std::unique_ptr<Acceptor> acceptor)
      : core_(std::move(core)), acceptor_(std::move(acceptor)) {}
  ~TcpServer() override {
    acceptor_->close();
    core_->abandon();
  }

  std::uint16_t port() const override { return acceptor_->port(); }
  Counters counters() const override { return core_->counters(); }

  asio::awaitable<void> stop(Duration grace) override {
    const std::shared_ptr<Core> core = core_;
    acceptor_->close();
    const TimePoint deadline = core->clock()->now() + grace;
    co_await core->drain(deadline);
  }

 private:
  std::shared_ptr<Core> core_;
  std::unique_ptr<Acceptor> acceptor_;
};

}  // namespace

void Spliced::add(Part part) {
  if (part.size == 0) return;
  const bool is_next = !parts.empty() && parts.back().offset + parts.back().size == part.offset;
  if (is_next) {
    parts.back().size += part.size;
  } else {
    parts.push_back(part);
  }
}

std::uint64_t Spliced::size() const {
  std::uint64_t all = head.size();
  for (const Part& each : parts) all += each.size;
  return all;
}

Result<std::unique_ptr<Server>> listen(asio::any_io_executor executor, async::Clock* clock,
                                       Handler* handler, ServerOptions options) {
  auto core =
      std::make_shared<Core>(executor, clock, handler, options.limits, std::move(options.refusal));
  auto acceptor = Acceptor::open(core, std::move(options.host), options.port);
  if (!acceptor) return std::move(acceptor).error();
  core->start_sweep();
  (*acceptor)->start();
  return std::make_unique<TcpServer>(std::move(core), *std::move(acceptor));
}

}  // namespace dormouse::http
