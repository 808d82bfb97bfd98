// The messages of a TensorBoard event file as bytes: the fields that scalars need of Event, Summary and SessionLog
// (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto), written in protobuf's wire format here.
// A protobuf library cannot share a process with SentencePiece, which exports another version of the same symbols.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace tessera {

struct ScalarValue {
  std::string tag;  ///< its part before a `/` is the group that the page shows it in
  float value;
};

/// The first event of a file: the format's version. `wall_time` is in seconds since 1970.
std::string encode_version(double wall_time);

/// Tells the page that a program starts or resumes, so that what was written for `step` and later is dropped.
std::string encode_session_start(double wall_time, int64_t step);

std::string encode_scalars(double wall_time, int64_t step, std::span<const ScalarValue> scalars);

}  // namespace tessera
