#include "framework/distributed/communicator_nccl.h"

#include <chrono>
#include <exception>
#include <future>
#include <mutex>
#include <thread>

#include <nccl.h>

#include "framework/distributed/shared_library.h"
#include "kernels/common/cuda/runtime.h"

namespace tessera {
namespace {

/// The part of NCCL that is used here.
struct Nccl {
  SharedLibrary library{{"libnccl.so.2", TESSERA_NCCL_LIBRARY}, "install NCCL (apt install libnccl2)"};
  decltype(ncclGetUniqueId)* get_unique_id = library.function<decltype(ncclGetUniqueId)>("ncclGetUniqueId");
  decltype(ncclCommInitRank)* comm_init_rank = library.function<decltype(ncclCommInitRank)>("ncclCommInitRank");
  decltype(ncclCommDestroy)* comm_destroy = library.function<decltype(ncclCommDestroy)>("ncclCommDestroy");
  decltype(ncclCommAbort)* comm_abort = library.function<decltype(ncclCommAbort)>("ncclCommAbort");
  decltype(ncclCommGetAsyncError)* async_error =
      library.function<decltype(ncclCommGetAsyncError)>("ncclCommGetAsyncError");
  decltype(ncclGetErrorString)* error_string = library.function<decltype(ncclGetErrorString)>("ncclGetErrorString");
  decltype(ncclAllReduce)* all_reduce = library.function<decltype(ncclAllReduce)>("ncclAllReduce");
  decltype(ncclReduceScatter)* reduce_scatter = library.function<decltype(ncclReduceScatter)>("ncclReduceScatter");
  decltype(ncclAllGather)* all_gather = library.function<decltype(ncclAllGather)>("ncclAllGather");
  decltype(ncclBroadcast)* broadcast = library.function<decltype(ncclBroadcast)>("ncclBroadcast");

  std::string sentence(ncclResult_t result, const char* what) const {
    return format_message("{} failed: {}; NCCL_DEBUG=INFO says more", {what, error_string(result)});
  }
};

const Nccl& nccl() {
  static const Nccl opened;
  return opened;
}

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return ncclFloat64;
    case DType::f32: return ncclFloat32;
    case DType::f16: return ncclFloat16;
    case DType::bf16: return ncclBfloat16;
    case DType::i64: return ncclInt64;
    case DType::i32: return ncclInt32;
    case DType::u16: fail("communicator: NCCL has no 16-bit integers");
    default: return ncclUint8;
  }
}

ncclRedOp_t operation(Communicator::Reduction reduction) {
  if (reduction == Communicator::Reduction::sum) return ncclSum;
  return reduction == Communicator::Reduction::max ? ncclMax : ncclMin;
}

std::string hexadecimal(const char* bytes, size_t size) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : std::string_view(bytes, size)) {
    text += kDigits[static_cast<unsigned char>(byte) / 16];
    text += kDigits[static_cast<unsigned char>(byte) % 16];
  }
  return text;
}

ncclUniqueId id_of(const std::string& text) {
  ncclUniqueId id{};
  expect(text.size() == 2 * sizeof id.internal, "communicator: an id of NCCL has {} digits, not {}",
         2 * sizeof id.internal, text.size());
  for (size_t i = 0; i < sizeof id.internal; ++i)
    id.internal[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return id;
}

size_t count(const Tensor& data) { return static_cast<size_t>(data.numel()); }

/// NCCL's communicator, until it is destroyed or aborted.
class NcclConnection final : public Connection {
 public:
  explicit NcclConnection(ncclComm_t communicator) : communicator_(communicator) {}

  std::string failure() override {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty() || communicator_ == nullptr) return failure_;
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = nccl().async_error(communicator_, &state);
    if (asked != ncclSuccess) state = asked;
    if (state != ncclSuccess && state != ncclInProgress) failure_ = nccl().sentence(state, "NCCL");
    return failure_;
  }

  /// NCCL's own call may wait for a rank that no longer exists, so it has a thread of its own.
  void abort() override {
    constexpr auto kPatience = std::chrono::seconds(2);
    ncclComm_t communicator = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (failure_.empty()) failure_ = "NCCL was aborted";
      communicator = std::exchange(communicator_, nullptr);
    }
    if (communicator == nullptr) return;
    std::packaged_task<void()> task([communicator] { nccl().comm_abort(communicator); });
    const std::future<void> done = task.get_future();
    std::thread(std::move(task)).detach();
    done.wait_for(kPatience);
  }

  void destroy() {
    ncclComm_t communicator = nullptr;
    {
      const std::lock_guard lock(mutex_);
      communicator = std::exchange(communicator_, nullptr);
    }
    if (communicator != nullptr) nccl().comm_destroy(communicator);
  }

  ncclComm_t get() const {
    const std::lock_guard lock(mutex_);
    if (communicator_ == nullptr) throw ConnectionLost("communicator: " + failure_);
    return communicator_;
  }

 private:
  mutable std::mutex mutex_;
  ncclComm_t communicator_;
  std::string failure_;
};

class NcclCollectives final : public StreamCollectives {
 public:
  NcclCollectives(ncclComm_t communicator, std::unique_ptr<Communicator> bootstrap)
      : bootstrap_(std::move(bootstrap)), connection_(std::make_shared<NcclConnection>(communicator)) {}
  ~NcclCollectives() override {
    if (std::uncaught_exceptions() > 0 || !connection_->failure().empty()) connection_->abort();
    else connection_->destroy();
  }

  std::string_view name() const override { return "NCCL"; }
  std::shared_ptr<Connection> connection() const override { return connection_; }

  void all_reduce(const Tensor& data, Communicator::Reduction reduction, void* stream) override {
    check(nccl().all_reduce(data.address(), data.address(), count(data), type_of(data.dtype()), operation(reduction),
                            connection_->get(), static_cast<cudaStream_t>(stream)),
          "ncclAllReduce");
  }
  void reduce_scatter(const Tensor& data, const Tensor& to, void* stream) override {
    check(nccl().reduce_scatter(data.address(), to.address(), count(to), type_of(data.dtype()), ncclSum,
                                connection_->get(), static_cast<cudaStream_t>(stream)),
          "ncclReduceScatter");
  }
  void all_gather(const Tensor& from, const Tensor& data, void* stream) override {
    check(nccl().all_gather(from.address(), data.address(), count(from), type_of(data.dtype()), connection_->get(),
                            static_cast<cudaStream_t>(stream)),
          "ncclAllGather");
  }
  void broadcast(const Tensor& data, int root, void* stream) override {
    check(nccl().broadcast(data.address(), data.address(), count(data), type_of(data.dtype()), root, connection_->get(),
                           static_cast<cudaStream_t>(stream)),
          "ncclBroadcast");
  }

 private:
  static void check(ncclResult_t result, const char* what) {
    if (result != ncclSuccess) throw ConnectionLost("communicator: " + nccl().sentence(result, what));
  }

  std::unique_ptr<Communicator> bootstrap_;  // MPI ends after NCCL
  std::shared_ptr<NcclConnection> connection_;
};

}  // namespace

std::string make_nccl_id() {
  ncclUniqueId id;
  const ncclResult_t result = nccl().get_unique_id(&id);
  expect(result == ncclSuccess, "communicator: {}", nccl().sentence(result, "ncclGetUniqueId"));
  return hexadecimal(id.internal, sizeof id.internal);
}

std::string gpu_identity(Device device) {
  cudaDeviceProp properties;
  cuda_check(cudaGetDeviceProperties(&properties, device.index), "cudaGetDeviceProperties");
  return hexadecimal(properties.uuid.bytes, sizeof properties.uuid.bytes);
}

std::unique_ptr<StreamCollectives> open_nccl(const std::string& id, Device device, int rank, int world,
                                             std::unique_ptr<Communicator> bootstrap) {
  cuda_check(cudaSetDevice(device.index), "cudaSetDevice");
  ncclComm_t communicator = nullptr;
  const ncclResult_t result = nccl().comm_init_rank(&communicator, world, id_of(id), rank);
  expect(result == ncclSuccess, "communicator: {}", nccl().sentence(result, "ncclCommInitRank"));
  return std::make_unique<NcclCollectives>(communicator, std::move(bootstrap));
}

}  // namespace tessera
