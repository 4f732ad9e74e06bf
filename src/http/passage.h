// Private to http: the Exchange of one request on a Connection.
#pragma once

#include <optional>
#include <string>

#include "http/body_cursor.h"
#include "http/exchange.h"
#include "http/head.h"
#include "http/response_head.h"
#include "http/stream.h"

namespace dormouse::http {

class Passage final : public Exchange {
 public:
  Passage(Core* core, Stream* stream, ReceivedHeadPtr received, std::string peer,
          std::uint64_t body_bytes_max);
  ~Passage() override { let_go(); }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;

  const Head& head() const override { return received_->head; }
  const std::string& peer() const override { return peer_; }
  std::string_view wanted_upgrade() const override { return received_->wanted_upgrade; }
  std::optional<std::string_view> take_whole() override;
  asio::awaitable<Result<std::optional<std::string_view>>> read() override;
  bool begin(Opening) override;
  asio::awaitable<Result<>> write(std::string_view piece) override;
  asio::awaitable<Result<>> finish(Fields trailers) override;

  // Of what read() gave last. To be said before anybody else reads.
  void let_go() { stream_->consume(std::exchange(handed_out_, 0)); }
  // The response is whole, and the connection can have another request.
  bool can_be_kept() const;
  bool is_whole() const { return finished_; }

 private:
  Result<std::string_view> next_piece();  // Of what is buffered.
  std::string_view connection_option() const;

  Core* const core_;
  Stream* const stream_;
  const ReceivedHeadPtr received_;
  const std::string peer_;
  const std::uint64_t body_bytes_max_;
  BodyCursor cursor_;
  std::uint64_t body_bytes_ = 0;
  std::size_t handed_out_ = 0;  // Of what is buffered: consumed by the next read().
  bool told_to_continue_ = false;

  Framing framing_;
  std::string head_, frame_;  // What is being sent must stay.
  std::uint64_t left_ = 0;    // Of a sized body.
  bool has_begun_ = false;
  bool upgraded_ = false;
  bool finished_ = false;
};

}  // namespace dormouse::http
