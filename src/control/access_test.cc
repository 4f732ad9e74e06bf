#include "control/access.h"

#include <gtest/gtest.h>

namespace dormouse::control {
namespace {

TEST(ContentType, IsWhatTheRouteDeclares) {
  const struct {
    Accepts accepts;
    const char* type;  // nullptr: none.
    bool good;
  } rows[] = {
      {Accepts::json, "application/json", true},
      {Accepts::json, "Application/JSON; charset=utf-8", true},
      {Accepts::json, "application/json ;charset=utf-8", true},
      {Accepts::json, nullptr, false},
      {Accepts::json, "text/plain", false},
      {Accepts::json, "application/x-www-form-urlencoded", false},
      {Accepts::json, "multipart/form-data; boundary=x", false},
      {Accepts::json, "text/plain; application/json", false},
      {Accepts::json, "application/jsonp", false},
      {Accepts::json, "application/octet-stream", false},
      {Accepts::bytes, "application/octet-stream", true},
      {Accepts::bytes, "application/json", false},
      {Accepts::bytes, nullptr, false},
      {Accepts::nothing, nullptr, true},
  };
  for (const auto& row : rows) {
    http::Head head;
    if (row.type != nullptr) head.fields.add("Content-Type", row.type);
    EXPECT_EQ(check_content_type(head, row.accepts).has_value(), row.good)
        << (row.type == nullptr ? "none" : row.type);
  }
}

}  // namespace
}  // namespace dormouse::control
