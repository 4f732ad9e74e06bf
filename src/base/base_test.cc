#include <gtest/gtest.h>

#include <limits>

#include "base/ascii.h"
#include "base/bytes.h"
#include "base/digest.h"
#include "base/id.h"
#include "base/money.h"
#include "base/result.h"

namespace dormouse {
namespace {

TEST(Code, HasANameAndABlame) {
  for (const Code code : every_code) {
    EXPECT_FALSE(name(code).empty());
    EXPECT_FALSE(name(blame(code)).empty());
  }
}

TEST(InvocationId, SurvivesItsText) {
  const auto id = InvocationId::make({0x018f3b2e7c1a}, {~0ull, ~0ull});
  EXPECT_EQ(id.text(), "018f3b2e-7c1a-7fff-bfff-ffffffffffff");
  EXPECT_EQ(id.time().unix_ms, 0x018f3b2e7c1a);
  EXPECT_EQ(InvocationId::parse(id.text()), id);
}

TEST(InvocationId, SortsByTime) {
  EXPECT_LT(InvocationId::make({1}, {~0ull, ~0ull}), InvocationId::make({2}, {0, 0}));
}

TEST(InvocationId, RefusesWhatIsNotOne) {
  for (const char* text :
       {"", "018f3b2e", "018f3b2e-7c1a-7fff-bfff-fffffffffffg",
        "018f3b2e-7c1a-7fff-bfff_ffffffffffff", "018f3b2e-7c1a-7fff-bfff-ffffffffffff0"}) {
    EXPECT_FALSE(InvocationId::parse(text)) << text;
  }
}

TEST(Digest, IsAlwaysSafeInAPath) {
  const std::string hex(64, 'a');
  EXPECT_TRUE(Digest::parse("sha256:" + hex));
  const std::string nul("sha256:" + hex.substr(1) + '\0');
  for (const std::string& text :
       {std::string("sha256:../.."), "sha256:" + std::string(64, 'A'), "sha256:" + hex + "a",
        "sha256:" + hex.substr(1), "sha512:" + hex, hex, nul, std::string()}) {
    EXPECT_FALSE(Digest::parse(text)) << text;
  }
}

TEST(Money, IsExactAndNeverWraps) {
  constexpr std::int64_t max = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t min = std::numeric_limits<std::int64_t>::min();
  EXPECT_EQ(text(PicoUnits{2'100'000}), "0.0000021");
  EXPECT_EQ(text(PicoUnits{0}), "0");
  EXPECT_EQ(text(PicoUnits{-1'500'000'000'000}), "-1.5");
  EXPECT_EQ(text(PicoUnits{min}), "-9223372.036854775808");
  EXPECT_EQ(add({max - 1}, {1})->value, max);
  EXPECT_FALSE(add({max}, {1}));
  EXPECT_FALSE(times({max / 2}, 3));
  EXPECT_FALSE(times({min}, -1));
}

TEST(Reader, FailsOnceAndForGood) {
  std::string out;
  put(out, std::uint16_t{7});
  put_sized(out, "abc");
  Reader good(out);
  EXPECT_EQ(good.get<std::uint16_t>(), 7);
  EXPECT_EQ(good.get_sized(), "abc");
  EXPECT_TRUE(good.complete());

  Reader cut(std::string_view(out).substr(0, 7));
  cut.get<std::uint16_t>();
  EXPECT_EQ(cut.get_sized(), "");
  EXPECT_EQ(cut.get<std::uint8_t>(), 0);
  EXPECT_FALSE(cut.ok());
}

TEST(Ascii, HasTwoCasesOfLettersOnly) {
  EXPECT_EQ(lower("Content-TYPE: @[`{ \xC3\x84"), "content-type: @[`{ \xC3\x84");
  EXPECT_TRUE(is_media_type("image/png", "image/png"));
  EXPECT_TRUE(is_media_type("\tImage/PNG ; q=\"a;b\"", "image/png"));
  EXPECT_FALSE(is_media_type("image/pngx", "image/png"));
  EXPECT_FALSE(is_media_type("image /png", "image/png"));
  EXPECT_FALSE(is_media_type("text/plain; image/png", "image/png"));
  EXPECT_FALSE(is_media_type("", "image/png"));
  EXPECT_FALSE(is_media_type(" ; ", "image/png"));
}

}  // namespace
}  // namespace dormouse
