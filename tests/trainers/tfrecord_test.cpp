#include "trainers/tfrecord.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Crc32c, AgreesWithTheExamplesOfTheRfc) {
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
}

TEST(TfRecord, FramesWithLengthAndTwoChecksums) {
  // The format stores the rotated, shifted checksum.
  const std::string record = tfrecord("abc");
  ASSERT_EQ(record.size(), 8U + 4 + 3 + 4);
  EXPECT_EQ(record.substr(0, 8), std::string("\3\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 3), "abc");
  EXPECT_EQ(crc32c("abc"), 0x364B3FB7U);
  EXPECT_EQ(masked_crc32c("abc"), 0x21F1576EU);
  EXPECT_EQ(record.substr(15), "\x6E\x57\xF1\x21");
}

}  // namespace
}  // namespace tessera
