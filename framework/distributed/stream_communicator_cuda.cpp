#include <atomic>
#include <exception>
#include <map>

#include "framework/distributed/stream_communicator.h"
#include "framework/tensor/pinned_buffer.h"
#include "kernels/clock/clock.h"
#include "kernels/common/cuda/runtime.h"

namespace tessera {
namespace {

cudaStream_t work_stream(Device device) { return static_cast<cudaStream_t>(std::get<Cuda>(exec_of(device)).stream); }

/// A place in a stream. Events are made once and used again.
class Mark {
 public:
  Mark() { cuda_check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate"); }
  ~Mark() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Mark(Mark&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Mark& operator=(Mark&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }

  void set(cudaStream_t stream) { cuda_check(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  void hold(cudaStream_t stream) const { cuda_check(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent"); }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Adds up the time between two places of a stream. The device does, in memory that the host may read at any time:
/// events would be of one step alone, and a CUDA graph records its own anew before the host has seen them.
class StreamStopwatch {
 public:
  explicit StreamStopwatch(Device device) : device_(device), memory_(device, sizeof(Times)) { times() = {}; }

  void start(cudaStream_t stream) const { launch(NoteTime{.moment = &times().started}, Cuda{device_.index, stream}); }
  void stop(cudaStream_t stream) const {
    launch(AddTimeSince{.moment = &times().started, .total = &times().nanoseconds}, Cuda{device_.index, stream});
  }
  double seconds() const { return 1e-9 * static_cast<double>(std::atomic_ref(times().nanoseconds).load()); }

 private:
  struct Times {
    int64_t started = 0;
    int64_t nanoseconds = 0;
  };
  Times& times() const { return *static_cast<Times*>(memory_.data()); }

  Device device_;
  PinnedBuffer memory_;
};

class StreamCommunicator final : public Communicator {
 public:
  StreamCommunicator(std::unique_ptr<StreamCollectives> collectives, Device device, int rank, int world)
      : Communicator(rank, world),
        collectives_(std::move(collectives)),
        device_(device),
        under_way_(device),
        awaited_(device) {
    cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
    cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  /// What the other ranks may never answer is not waited for.
  ~StreamCommunicator() override {
    if (std::uncaught_exceptions() > 0 || !failure().empty()) return;
    cudaStreamSynchronize(stream_);
    cudaStreamSynchronize(work_stream(device_));
  }

  std::string_view transport() const override { return collectives_->name(); }
  bool on_stream() const override { return true; }
  std::shared_ptr<Connection> connection() const override { return collectives_->connection(); }

  Ticket start_all_reduce(const Tensor& data, Reduction reduction) override {
    return start(data, [&](const Tensor& on_device) { collectives_->all_reduce(on_device, reduction, stream_); });
  }
  Ticket start_reduce_scatter(const Tensor& data) override {
    return start(
        data, [&](const Tensor& on_device) { collectives_->reduce_scatter(on_device, part_of(on_device), stream_); });
  }
  Ticket start_all_gather(const Tensor& data) override {
    return start(data,
                 [&](const Tensor& on_device) { collectives_->all_gather(part_of(on_device), on_device, stream_); });
  }
  Ticket start_broadcast(const Tensor& data, int root) override {
    return start(data, [&](const Tensor& on_device) { collectives_->broadcast(on_device, root, stream_); });
  }

  void wait(Ticket ticket) override {
    if (const std::string what = failure(); !what.empty()) throw ConnectionLost("communicator: " + what);
    const auto done = done_.upper_bound(ticket);
    if (done == done_.begin()) return;
    awaited_.start(work_stream(device_));
    std::prev(done)->second.hold(work_stream(device_));  // the stream is in order: the last one stands for all before
    awaited_.stop(work_stream(device_));
    for (auto it = done_.begin(); it != done; ++it) free_.push_back(std::move(it->second));
    done_.erase(done_.begin(), done);
    for (; !staged_.empty() && staged_.begin()->first <= ticket; staged_.erase(staged_.begin())) {
      staged_.begin()->second.host.copy_from(staged_.begin()->second.device.to(Device::cpu()));
    }
  }

  void barrier() override {
    const Tensor one = Tensor::full({1}, 1, DType::f32, device_);
    all_reduce(one);
    one.item();
  }

  /// As far as the device has come.
  Usage usage() const override { return {.busy = under_way_.seconds(), .waited = awaited_.seconds()}; }

 private:
  /// A tensor of the host and the GPU's copy that travels.
  struct Staged {
    Tensor host;
    Tensor device;
  };

  std::string failure() const {
    const std::shared_ptr<Connection> connection = collectives_->connection();
    return connection ? connection->failure() : "";
  }

  template <class Collective>
  Ticket start(const Tensor& data, Collective collective) {
    expect(data.contiguous(), "communicator: a tensor of shape {} with strides {} must be contiguous", data.shape(),
           data.strides());
    cuda_check(cudaSetDevice(device_.index), "cudaSetDevice");
    const Tensor on_device = data.device().is_cpu() ? data.to(device_) : data;
    Mark made = take_mark();
    made.set(work_stream(device_));
    made.hold(stream_);
    under_way_.start(stream_);
    collective(on_device);
    under_way_.stop(stream_);
    const Ticket ticket = ++last_;
    Mark done = take_mark();
    done.set(stream_);
    done_.emplace(ticket, std::move(done));
    free_.push_back(std::move(made));
    if (data.device().is_cpu()) staged_[ticket] = {data, on_device};
    return ticket;
  }

  Tensor part_of(const Tensor& data) const {
    const int64_t part = data.numel() / world();
    expect(data.rank() == 1 && part * world() == data.numel(),
           "communicator: the shape {} does not split into {} equal parts", data.shape(), world());
    return data.slice(0, rank() * part, (rank() + 1) * part);
  }

  Mark take_mark() {
    if (free_.empty()) return {};
    Mark mark = std::move(free_.back());
    free_.pop_back();
    return mark;
  }

  std::unique_ptr<StreamCollectives> collectives_;
  Device device_;
  cudaStream_t stream_ = nullptr;  // for the life of the process, as the device's own
  StreamStopwatch under_way_;      // of stream_, from when a collective's data are there until it is done
  StreamStopwatch awaited_;        // of the device's own stream, which `wait` holds
  Ticket last_ = 0;
  std::map<Ticket, Mark> done_;
  std::vector<Mark> free_;
  std::map<Ticket, Staged> staged_;
};

}  // namespace

std::unique_ptr<Communicator> stream_communicator(std::unique_ptr<StreamCollectives> collectives, Device device,
                                                  int rank, int world) {
  expect(!device.is_cpu(), "communicator: collectives on streams are for GPUs, not for {}", to_string(device));
  return std::make_unique<StreamCommunicator>(std::move(collectives), device, rank, world);
}

}  // namespace tessera
