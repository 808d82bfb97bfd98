// Collectives that record what NCCL would be asked for, and the order that streams and events give to it. They stand
// for two ranks with the same data: a sum doubles it, by a kernel on the stream that was named.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "framework/distributed/stream_communicator.h"
#include "tests/support/devices.h"

#ifdef TESSERA_WITH_CUDA
#include "kernels/elementwise/add.h"

namespace tessera {

/// Which work of other streams comes before that of a stream, by the events it waited for. Moments count everything
/// that was told.
class StreamOrder {
 public:
  int64_t now() { return ++moment_; }
  void record(const void* stream, const void* event) {
    marks_[event] = before_[stream];
    marks_[event][stream] = now();
  }
  void wait(const void* stream, const void* event) {
    for (const auto& [other, moment] : marks_[event]) {
      int64_t& known = before_[stream][other];
      known = std::max(known, moment);
    }
  }
  /// Up to which moment the work of `other` is done when `stream` goes on.
  int64_t seen(const void* stream, const void* other) { return before_[stream][other]; }

 private:
  using Moments = std::map<const void*, int64_t>;
  int64_t moment_ = 0;
  std::map<const void*, Moments> before_;
  std::map<const void*, Moments> marks_;
};

struct RecordedCall {
  std::string name;
  const void* address;  ///< of the whole
  int64_t count;        ///< as NCCL counts: of a part, for reduce_scatter and all_gather
  DType dtype;
  void* stream;
  int64_t moment;       ///< when it was made
  int64_t work_before;  ///< the device's own work is done up to this moment when it begins
};

/// What a test keeps of the calls.
struct Recorded {
  std::vector<RecordedCall> calls;
  StreamOrder order;
  std::string failure;
  int aborts = 0;
};

class RecordingCollectives final : public StreamCollectives {
 public:
  explicit RecordingCollectives(Recorded& recorded) : recorded_(&recorded) {
#ifdef TESSERA_SIMT
    simt::observe_events([&recorded](const simt::EventUse& use) {
      if (use.recorded) recorded.order.record(use.stream, use.event);
      else recorded.order.wait(use.stream, use.event);
    });
#endif
  }
  ~RecordingCollectives() override {
#ifdef TESSERA_SIMT
    simt::observe_events({});
#endif
  }

  std::string_view name() const override { return "a recording"; }
  void all_reduce(const Tensor& data, Communicator::Reduction reduction, void* stream) override {
    record(reduction == Communicator::Reduction::sum ? "all_reduce" : "all_reduce of the extreme", data, data, stream);
    if (reduction == Communicator::Reduction::sum) double_it(data, stream);
  }
  void reduce_scatter(const Tensor& data, const Tensor& to, void* stream) override {
    record("reduce_scatter", data, to, stream);
    double_it(to, stream);
  }
  void all_gather(const Tensor& from, const Tensor& data, void* stream) override {
    record("all_gather", data, from, stream);
  }
  void broadcast(const Tensor& data, int, void* stream) override { record("broadcast", data, data, stream); }
  std::shared_ptr<Connection> connection() const override { return std::make_shared<Watched>(*recorded_); }

 private:
  class Watched final : public Connection {
   public:
    explicit Watched(Recorded& recorded) : recorded_(&recorded) {}
    std::string failure() override { return recorded_->failure; }
    void abort() override { ++recorded_->aborts; }

   private:
    Recorded* recorded_;
  };

  void record(const char* name, const Tensor& whole, const Tensor& counted, void* stream) {
    recorded_->calls.push_back({.name = name,
                                .address = whole.address(),
                                .count = counted.numel(),
                                .dtype = whole.dtype(),
                                .stream = stream,
                                .moment = recorded_->order.now(),
                                .work_before = recorded_->order.seen(stream, work_stream(whole.device()))});
  }
  static const void* work_stream(Device device) { return std::get<Cuda>(exec_of(device)).stream; }
  static void double_it(const Tensor& data, void* stream) {
    const Tensor rows = data.view({1, 1, 1, data.numel()});
    launch(Add{.a = rows.in<4>(), .b = rows.in<4>(), .y = rows.out<4>()}, Cuda{data.device().index, stream});
  }

  Recorded* recorded_;
};

}  // namespace tessera
#endif
