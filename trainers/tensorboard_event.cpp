#include "trainers/tensorboard_event.h"

#include <bit>
#include <string_view>

namespace tessera {
namespace {

/// A protobuf message in the making. A field is its number and wire type, then its value.
class Message {
 public:
  Message& integer(int field, int64_t value) {
    key(field, 0);
    return varint(static_cast<uint64_t>(value));
  }
  Message& number(int field, double value) {
    key(field, 1);
    return fixed(std::bit_cast<uint64_t>(value));
  }
  Message& number(int field, float value) {
    key(field, 5);
    return fixed(std::bit_cast<uint32_t>(value));
  }
  Message& text(int field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_.append(value);
    return *this;
  }
  Message& message(int field, const Message& value) { return text(field, value.bytes_); }

  const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, int wire_type) { varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire_type)); }
  Message& varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
    return *this;
  }
  template <class Bits>
  Message& fixed(Bits bits) {
    for (size_t i = 0; i < sizeof bits; ++i) bytes_.push_back(static_cast<char>(bits >> (8 * i)));
    return *this;
  }

  std::string bytes_;
};

// Field numbers of the messages.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;  // Event
constexpr int kValue = 1, kTag = 1, kSimpleValue = 2;                                     // Summary, Summary.Value
constexpr int kStatus = 1, kStart = 1;                                                    // SessionLog

Message event_at(double wall_time, int64_t step) {
  Message event;
  event.number(kWallTime, wall_time).integer(kStep, step);
  return event;
}

}  // namespace

std::string encode_version(double wall_time) {
  return event_at(wall_time, 0).text(kFileVersion, "brain.Event:2").bytes();
}

std::string encode_session_start(double wall_time, int64_t step) {
  return event_at(wall_time, step).message(kSessionLog, Message().integer(kStatus, kStart)).bytes();
}

std::string encode_scalars(double wall_time, int64_t step, std::span<const ScalarValue> scalars) {
  Message summary;
  for (const ScalarValue& scalar : scalars)
    summary.message(kValue, Message().text(kTag, scalar.tag).number(kSimpleValue, scalar.value));
  return event_at(wall_time, step).message(kSummary, summary).bytes();
}

}  // namespace tessera
