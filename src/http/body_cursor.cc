#include "http/body_cursor.h"

#include <algorithm>

namespace dormouse::http {

Accepted<BodyCursor::Step> BodyCursor::take(std::string_view input) {
  if (kind_ == Kind::until_close) return Step{0, input};
  if (kind_ == Kind::sized) {
    const std::string_view data = input.substr(0, std::min<std::uint64_t>(left_, input.size()));
    left_ -= data.size();
    return Step{0, data};
  }
  const auto framing = chunks_.read(input);
  if (!framing) return std::unexpected(framing.error());
  input.remove_prefix(*framing);
  const std::uint64_t wanted = chunks_.complete() ? 0 : chunks_.data_left();
  const std::string_view data = input.substr(0, std::min<std::uint64_t>(wanted, input.size()));
  if (!data.empty()) chunks_.skip_data(data.size());
  return Step{*framing, data};
}

bool BodyCursor::complete() const {
  if (kind_ == Kind::until_close) return false;
  return kind_ == Kind::sized ? left_ == 0 : chunks_.complete();
}

}  // namespace dormouse::http
