#include "trainers/tensorboard.h"

#include <cstring>
#include <map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/error.h"
#include "tests/temporary_folder.h"
#include "trainers/tfrecord.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

/// A reader of the protobuf wire format of its own: the fields of one message, by number. A varint or fixed number is
/// kept as its bits.
class Message {
 public:
  explicit Message(std::string_view bytes) {
    while (!bytes.empty()) {
      const uint64_t key = varint(bytes);
      const auto field = static_cast<int>(key >> 3);
      switch (key & 7) {
        case 0: numbers_[field] = varint(bytes); break;
        case 1: numbers_[field] = fixed(bytes, 8); break;
        case 2: texts_[field].emplace_back(take(bytes, varint(bytes))); break;
        case 5: numbers_[field] = fixed(bytes, 4); break;
        default: ADD_FAILURE() << "wire type " << (key & 7); return;
      }
    }
  }
  uint64_t number(int field) const { return numbers_.contains(field) ? numbers_.at(field) : 0; }
  std::vector<std::string> texts(int field) const {
    return texts_.contains(field) ? texts_.at(field) : std::vector<std::string>();
  }

 private:
  static std::string take(std::string_view& bytes, uint64_t count) {
    std::string taken(bytes.substr(0, count));
    bytes.remove_prefix(taken.size());
    return taken;
  }
  static uint64_t varint(std::string_view& bytes) {
    uint64_t value = 0;
    for (int shift = 0; !bytes.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(take(bytes, 1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) break;
    }
    return value;
  }
  static uint64_t fixed(std::string_view& bytes, size_t count) {
    uint64_t value = 0;
    std::memcpy(&value, take(bytes, count).data(), count);
    return value;
  }

  std::map<int, uint64_t> numbers_;
  std::map<int, std::vector<std::string>> texts_;
};

std::vector<Message> events_in(const std::filesystem::path& path) {
  std::vector<Message> events;
  const std::string bytes = read_all(path);
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    const std::string event = bytes.substr(at + 12, length);
    EXPECT_EQ(bytes.substr(at, 16 + length), tfrecord(event));
    events.emplace_back(event);
    at += 16 + length;
  }
  return events;
}

TEST(TensorBoard, WritesVersionSessionAndScalars) {
  const TemporaryFolder folder;
  TensorBoardWriter writer(folder.path(), 301);
  writer.append({.step = 310, .train_loss = 1.5, .val_loss = 1.75, .tokens = 1000});
  EXPECT_THAT(writer.path().filename().string(), HasSubstr("events.out.tfevents."));
  const auto events = events_in(writer.path());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].texts(3).at(0), "brain.Event:2");
  EXPECT_EQ(events[1].number(2), 301U);
  EXPECT_EQ(Message(events[1].texts(7).at(0)).number(1), 1U);
  EXPECT_EQ(events[2].number(2), 310U);
  std::map<std::string, float> scalars;
  for (const std::string& bytes : Message(events[2].texts(5).at(0)).texts(1)) {
    const Message value(bytes);
    const auto bits = static_cast<uint32_t>(value.number(2));
    std::memcpy(&scalars[value.texts(1).at(0)], &bits, sizeof bits);
  }
  EXPECT_EQ(scalars.at("loss/train_loss"), 1.5F);
  EXPECT_EQ(scalars.at("loss/val_loss"), 1.75F);
  EXPECT_EQ(scalars.at("training/tokens"), 1000.0F);
  EXPECT_TRUE(scalars.contains("machine/tokens_per_second"));
  EXPECT_TRUE(scalars.contains("training/learning_rate"));
  EXPECT_FALSE(scalars.contains("loss/eval_train_loss"));
  EXPECT_FALSE(scalars.contains("training/step"));
}

TEST(TensorBoard, NamesTheFolderThatCannotBeWritten) {
  EXPECT_THAT(message_of([] { TensorBoardWriter("/no/such", 1); }), HasSubstr("/no/such/events.out.tfevents."));
}

}  // namespace
}  // namespace tessera
