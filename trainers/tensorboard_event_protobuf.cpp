#include <tensorboard_event.pb.h>

#include "trainers/tensorboard_event.h"

namespace tessera {
namespace {

tensorboard::Event event_at(double wall_time, int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  return event;
}

}  // namespace

std::string encode_version(double wall_time) {
  tensorboard::Event event = event_at(wall_time, 0);
  event.set_file_version("brain.Event:2");
  return event.SerializeAsString();
}

std::string encode_session_start(double wall_time, int64_t step) {
  tensorboard::Event event = event_at(wall_time, step);
  event.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  return event.SerializeAsString();
}

std::string encode_scalars(double wall_time, int64_t step, std::span<const ScalarValue> scalars) {
  tensorboard::Event event = event_at(wall_time, step);
  for (const ScalarValue& scalar : scalars) {
    tensorboard::Summary::Value* value = event.mutable_summary()->add_value();
    value->set_tag(scalar.tag);
    value->set_simple_value(scalar.value);
  }
  return event.SerializeAsString();
}

}  // namespace tessera
