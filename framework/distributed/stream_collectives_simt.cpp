#include "framework/distributed/stream_collectives_simt.h"

#include "kernels/simt/stream.h"

namespace tessera {
namespace {

// The same memory, as the host's.
Tensor of_host(const Tensor& data) { return Tensor::borrow(data.address(), data.shape(), data.dtype()); }

class HostCollectives final : public StreamCollectives {
 public:
  explicit HostCollectives(std::unique_ptr<Communicator> host) : host_(std::move(host)) {}
  std::string_view name() const override { return host_->transport(); }

  void all_reduce(const Tensor& data, Communicator::Reduction reduction, void* stream) override {
    simt::enqueue(static_cast<cudaStream_t>(stream),
                  [host = host_, data = of_host(data), reduction] { host->all_reduce(data, reduction); });
  }
  void reduce_scatter(const Tensor& data, const Tensor&, void* stream) override {
    simt::enqueue(static_cast<cudaStream_t>(stream),
                  [host = host_, data = of_host(data)] { host->reduce_scatter(data); });
  }
  void all_gather(const Tensor&, const Tensor& data, void* stream) override {
    simt::enqueue(static_cast<cudaStream_t>(stream), [host = host_, data = of_host(data)] { host->all_gather(data); });
  }
  void broadcast(const Tensor& data, int root, void* stream) override {
    simt::enqueue(static_cast<cudaStream_t>(stream),
                  [host = host_, data = of_host(data), root] { host->broadcast(data, root); });
  }

 private:
  std::shared_ptr<Communicator> host_;
};

}  // namespace

std::unique_ptr<StreamCollectives> through_host(std::unique_ptr<Communicator> host) {
  return std::make_unique<HostCollectives>(std::move(host));
}

}  // namespace tessera
