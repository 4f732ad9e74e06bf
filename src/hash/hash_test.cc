// What FIPS 180-4's own examples and the empty text hash to.
#include <gtest/gtest.h>

#include "hash/sha256.h"

namespace dormouse::hash {
namespace {

constexpr std::string_view of_nothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view of_abc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256, IsTheStandardsOwn) {
  EXPECT_EQ(hex(sha256("")), of_nothing);
  EXPECT_EQ(hex(sha256("abc")), of_abc);
  EXPECT_EQ(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Hasher, TakesPiecesAndIsAsNewWhenItHasFinished) {
  Hasher hasher;
  EXPECT_EQ(hex(hasher.add("a").add("").add("bc").finish()), of_abc);
  EXPECT_EQ(hex(hasher.finish()), of_nothing);
  EXPECT_EQ(as_digest(hasher.add("abc").finish()).text(), "sha256:" + std::string(of_abc));
}

}  // namespace
}  // namespace dormouse::hash
