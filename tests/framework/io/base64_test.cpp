#include "framework/io/base64.h"

#include <gmock/gmock.h>

#include "tests/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

TEST(Base64, WritesTheVectorsOfTheStandard) {
  EXPECT_EQ(to_base64(""), "");
  EXPECT_EQ(to_base64("f"), "Zg==");
  EXPECT_EQ(to_base64("fo"), "Zm8=");
  EXPECT_EQ(to_base64("foo"), "Zm9v");
  EXPECT_EQ(to_base64("foobar"), "Zm9vYmFy");
}

TEST(Base64, ReadsWhatItWrote) {
  std::string bytes;
  for (int i = 0; i < 600; ++i) {
    EXPECT_EQ(from_base64(to_base64(bytes), "x"), bytes);
    bytes += static_cast<char>(i * 37);
  }
}

TEST(Base64, RefusesWhatItNeverWrites) {
  EXPECT_THAT(message_of([] { from_base64("Zg=", "state.json"); }), HasSubstr("state.json: 3 characters"));
  EXPECT_THAT(message_of([] { from_base64("Z!==", "x"); }), HasSubstr("wrong character at 1"));
  EXPECT_THAT(message_of([] { from_base64("Zg==Zg==", "x"); }), HasSubstr("wrong character at 2"));
}

}  // namespace
}  // namespace tessera
