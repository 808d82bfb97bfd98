#include <exception>
#include <map>

#include "framework/distributed/stream_communicator.h"
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

class StreamCommunicator final : public Communicator {
 public:
  StreamCommunicator(std::unique_ptr<StreamCollectives> collectives, Device device, int rank, int world)
      : Communicator(rank, world), collectives_(std::move(collectives)), device_(device) {
    cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
    cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  /// What the other ranks may never answer is not waited for.
  ~StreamCommunicator() override {
    if (std::uncaught_exceptions() == 0 && failure().empty()) cudaStreamSynchronize(stream_);
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
    std::prev(done)->second.hold(work_stream(device_));  // the stream is in order: the last one stands for all before
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
    collective(on_device);
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
