#include "trainers/tensorboard.h"

#include <array>
#include <chrono>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "trainers/tensorboard_event.h"
#include "trainers/tfrecord.h"

namespace tessera {
namespace {

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

std::string_view group_of(std::string_view name) {
  if (name.find("loss") != name.npos || name.find("accuracy") != name.npos) return "loss";
  return name.find("second") != name.npos || name.find("peak") != name.npos ? "machine" : "training";
}

void put(std::vector<ScalarValue>& scalars, const char* name, double value) {
  scalars.push_back({fmt::format("{}/{}", group_of(name), name), static_cast<float>(value)});
}
void put(std::vector<ScalarValue>& scalars, const char* name, int64_t value) {
  put(scalars, name, static_cast<double>(value));
}
void put(std::vector<ScalarValue>&, const char*, const std::string&) {}  // a sentence is no scalar
template <class Value>
void put(std::vector<ScalarValue>& scalars, const char* name, const std::optional<Value>& value) {
  if (value) put(scalars, name, *value);
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& folder, int64_t first_step)
    : file_(folder / fmt::format("events.out.tfevents.{:.6f}.{}.{}", wall_time(), host_name(), getpid())) {
  const double now = wall_time();
  write(encode_version(now));
  write(encode_session_start(now, first_step));
}

void TensorBoardWriter::append(const StepReport& report) {
  std::vector<ScalarValue> scalars;
  visit_metrics(report, [&](std::string_view name, const auto& value) {
    if (name != "step") put(scalars, name.data(), value);
  });
  write(encode_scalars(wall_time(), report.step, scalars));
}

void TensorBoardWriter::write(std::string_view event) { file_.append(tfrecord(event)); }

}  // namespace tessera
