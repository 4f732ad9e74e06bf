#include "http/passage.h"

#include "http/core.h"
#include "http/rejection.h"

namespace dormouse::http {
namespace {

BodyCursor cursor_of(const ReceivedHead& received) {
  if (received.chunked) return BodyCursor::chunked();
  return BodyCursor::sized(received.head.content_length.value_or(0));
}

}  // namespace

Passage::Passage(Core* core, Stream* stream, ReceivedHeadPtr received, std::string peer,
                 std::uint64_t body_bytes_max)
    : core_(core),
      stream_(stream),
      received_(std::move(received)),
      peer_(std::move(peer)),
      body_bytes_max_(body_bytes_max),
      cursor_(cursor_of(*received_)) {
  stream_->begin_body();
}

std::optional<std::string_view> Passage::take_whole() {
  CHECK(body_bytes_ == 0 && handed_out_ == 0);
  if (!received_->has_body()) return std::string_view();
  const std::uint64_t size = received_->head.content_length.value_or(0);
  if (size == 0 || size > stream_->buffered().size() || size > body_bytes_max_) return std::nullopt;
  auto piece = next_piece();
  CHECK(piece && piece->size() == size);
  return *piece;
}

// What of the body is buffered, without framing; it stays there until the next read().
Result<std::string_view> Passage::next_piece() {
  let_go();
  const auto step = cursor_.take(stream_->buffered());
  if (!step) return Error{Code::invalid_argument, step.error().why};
  stream_->consume(step->framing);
  handed_out_ = step->data.size();
  body_bytes_ += step->data.size();
  if (body_bytes_ > body_bytes_max_) {
    return Error{Code::too_large, text_of(too_long(body_bytes_max_))};
  }
  return step->data;
}

asio::awaitable<Result<std::optional<std::string_view>>> Passage::read() {
  if (received_->expects_continue && !has_begun_ && !std::exchange(told_to_continue_, true) &&
      stream_->buffered().empty()) {
    stream_->add("HTTP/1.1 100 Continue\r\n\r\n");
    const auto sent = co_await stream_->flush();
    if (!sent) co_return sent.error();
  }
  for (;;) {
    if (upgraded_) {
      let_go();
      handed_out_ = stream_->buffered().size();
      if (handed_out_ > 0) co_return stream_->buffered();
    } else {
      const auto piece = next_piece();
      if (!piece) co_return piece.error();
      if (!piece->empty()) co_return *piece;
      if (cursor_.complete()) co_return std::nullopt;
    }
    // Once there is a response, the two may be a conversation, which has its pauses.
    const auto bytes = co_await (has_begun_ ? stream_->fill(never) : stream_->fill_with_body());
    if (!bytes && bytes.error().code == Code::deadline_exceeded) {
      co_return Error{Code::deadline_exceeded, "a body that comes too slowly"};
    }
    if (!bytes) co_return bytes.error();
    if (*bytes == 0 && upgraded_) co_return std::nullopt;
    if (*bytes == 0) co_return Error{Code::cancelled, "the client went away"};
  }
}

bool Passage::begin(Opening opening) {
  CHECK(!has_begun_);
  const bool upgrades = !opening.upgrade.empty();
  const bool good_status = upgrades ? opening.status == 101 : opening.status >= 200;
  if (!good_status || !may_be_sent(upgrades ? 200 : opening.status, opening.fields)) return false;
  has_begun_ = true;
  if (upgrades || !may_have_body(opening.status)) {
    framing_.kind = Framing::Kind::none;
  } else if (opening.size) {
    framing_.size = *opening.size;
    left_ = opening.has_body ? framing_.size : 0;
  } else {
    framing_.kind = received_->version_1_0 ? Framing::Kind::until_close : Framing::Kind::chunked;
  }
  if (upgrades) {
    upgraded_ = true;
    framing_.connection = "Upgrade";
    framing_.upgrade = opening.upgrade;
  } else {
    framing_.connection = connection_option();
    finished_ = !opening.has_body || framing_.kind == Framing::Kind::none ||
                (framing_.kind == Framing::Kind::sized && left_ == 0);
  }
  append_head(head_, opening.status, opening.fields, framing_, core_->date());
  stream_->add(head_);
  return true;
}

std::string_view Passage::connection_option() const {
  const bool ends = framing_.kind == Framing::Kind::until_close || !received_->keep_alive ||
                    core_->draining() || !cursor_.complete();
  if (ends) return "close";
  return received_->version_1_0 ? "keep-alive" : "";
}

asio::awaitable<Result<>> Passage::write(std::string_view piece) {
  CHECK(has_begun_);
  if (!piece.empty() && !upgraded_) {
    if (finished_) co_return Error{Code::function_failed, "a body longer than it was said to be"};
    if (framing_.kind == Framing::Kind::sized) {
      if (piece.size() > left_) {
        co_return Error{Code::function_failed, "a body longer than it was said to be"};
      }
      left_ -= piece.size();
    }
  }
  const bool chunked = framing_.kind == Framing::Kind::chunked && !piece.empty();
  if (chunked) {
    frame_.clear();
    append_chunk_size(frame_, piece.size());
    stream_->add(frame_);
  }
  stream_->add(piece);
  if (chunked) stream_->add("\r\n");
  const auto all = stream_->try_flush();
  if (!all) co_return all.error();
  if (!*all) {
    const auto sent = co_await stream_->flush();
    if (!sent) co_return sent.error();
  }
  finished_ = finished_ || (framing_.kind == Framing::Kind::sized && left_ == 0 && !upgraded_);
  co_return ok;
}

asio::awaitable<Result<>> Passage::finish(Fields trailers) {
  CHECK(has_begun_);
  if (finished_ || upgraded_) co_return ok;
  if (framing_.kind == Framing::Kind::sized) {
    co_return Error{Code::function_failed, "a body shorter than it was said to be"};
  }
  if (framing_.kind == Framing::Kind::chunked) {
    frame_.clear();
    append_last_chunk(frame_, trailers);
    stream_->add(frame_);
    const auto sent = co_await stream_->flush();
    if (!sent) co_return sent.error();
  }
  finished_ = true;
  co_return ok;
}

bool Passage::can_be_kept() const {
  return finished_ && framing_.connection != "close" && cursor_.complete();
}

}  // namespace dormouse::http
