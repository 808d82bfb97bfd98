#include "trainers/tensorboard.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "framework/error.h"
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

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& folder, int64_t first_step) {
  const double now = wall_time();
  path_ = folder / fmt::format("events.out.tfevents.{:.6f}.{}.{}", now, host_name(), getpid());
  descriptor_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  expect(descriptor_ >= 0, "{}: cannot be created: {}", path_.string(), std::strerror(errno));
  write(encode_version(now));
  write(encode_session_start(now, first_step));
}

TensorBoardWriter::~TensorBoardWriter() { close(descriptor_); }

void TensorBoardWriter::append(const StepReport& report) {
  std::vector<ScalarValue> scalars;
  visit_metrics(report, [&](std::string_view name, const auto& value) {
    if (name != "step") put(scalars, name.data(), value);
  });
  write(encode_scalars(wall_time(), report.step, scalars));
}

void TensorBoardWriter::write(std::string_view event) {
  const std::string record = tfrecord(event);
  const ssize_t written = ::write(descriptor_, record.data(), record.size());
  expect(written >= 0, "{}: cannot be written: {}", path_.string(), std::strerror(errno));
  expect(static_cast<size_t>(written) == record.size(), "{}: the disk is full; make room and resume the run",
         path_.string());
}

}  // namespace tessera
