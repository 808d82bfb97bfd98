#include "framework/distributed/communicator_mpi.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <map>

#include <mpi.h>

#include "framework/distributed/communication_thread.h"
#include "framework/distributed/shared_library.h"
#include "kernels/common/half.h"

namespace tessera {
namespace {

/// The part of MPI that is used here.
struct Mpi {
  SharedLibrary library{{TESSERA_MPI_LIBRARY, "libmpi.so"}, "install MPI (apt install openmpi-bin)"};
  decltype(MPI_Init_thread)* init_thread = library.function<decltype(MPI_Init_thread)>("MPI_Init_thread");
  decltype(MPI_Initialized)* initialized = library.function<decltype(MPI_Initialized)>("MPI_Initialized");
  decltype(MPI_Finalize)* finalize = library.function<decltype(MPI_Finalize)>("MPI_Finalize");
  decltype(MPI_Comm_rank)* comm_rank = library.function<decltype(MPI_Comm_rank)>("MPI_Comm_rank");
  decltype(MPI_Comm_size)* comm_size = library.function<decltype(MPI_Comm_size)>("MPI_Comm_size");
  decltype(MPI_Op_create)* op_create = library.function<decltype(MPI_Op_create)>("MPI_Op_create");
  decltype(MPI_Test)* test = library.function<decltype(MPI_Test)>("MPI_Test");
  decltype(MPI_Iallreduce)* iallreduce = library.function<decltype(MPI_Iallreduce)>("MPI_Iallreduce");
  decltype(MPI_Ireduce_scatter_block)* ireduce_scatter_block =
      library.function<decltype(MPI_Ireduce_scatter_block)>("MPI_Ireduce_scatter_block");
  decltype(MPI_Iallgather)* iallgather = library.function<decltype(MPI_Iallgather)>("MPI_Iallgather");
  decltype(MPI_Ibcast)* ibcast = library.function<decltype(MPI_Ibcast)>("MPI_Ibcast");

#ifdef OPEN_MPI
  // Open MPI's constants are the addresses of objects inside the library.
  template <class Handle>
  Handle constant(const char* symbol) const {
    return static_cast<Handle>(library.address(symbol));
  }
  MPI_Comm world() const { return constant<MPI_Comm>("ompi_mpi_comm_world"); }
  MPI_Datatype f32() const { return constant<MPI_Datatype>("ompi_mpi_float"); }
  MPI_Datatype f64() const { return constant<MPI_Datatype>("ompi_mpi_double"); }
  MPI_Datatype i32() const { return constant<MPI_Datatype>("ompi_mpi_int32_t"); }
  MPI_Datatype i64() const { return constant<MPI_Datatype>("ompi_mpi_int64_t"); }
  MPI_Datatype u16() const { return constant<MPI_Datatype>("ompi_mpi_uint16_t"); }
  MPI_Datatype u8() const { return constant<MPI_Datatype>("ompi_mpi_uint8_t"); }
  MPI_Op sum() const { return constant<MPI_Op>("ompi_mpi_op_sum"); }
  MPI_Op max() const { return constant<MPI_Op>("ompi_mpi_op_max"); }
  MPI_Op min() const { return constant<MPI_Op>("ompi_mpi_op_min"); }
#else
  MPI_Comm world() const { return MPI_COMM_WORLD; }
  MPI_Datatype f32() const { return MPI_FLOAT; }
  MPI_Datatype f64() const { return MPI_DOUBLE; }
  MPI_Datatype i32() const { return MPI_INT32_T; }
  MPI_Datatype i64() const { return MPI_INT64_T; }
  MPI_Datatype u16() const { return MPI_UINT16_T; }
  MPI_Datatype u8() const { return MPI_UINT8_T; }
  MPI_Op sum() const { return MPI_SUM; }
  MPI_Op max() const { return MPI_MAX; }
  MPI_Op min() const { return MPI_MIN; }
#endif

  MPI_Datatype type_of(DType dtype) const {
    switch (dtype) {
      case DType::f32: return f32();
      case DType::f64: return f64();
      case DType::i32: return i32();
      case DType::i64: return i64();
      case DType::f16:
      case DType::bf16: return u16();
      default: return u8();
    }
  }
};

/// MPI knows no 16-bit floats: their sum, on the bits. Signature and meaning are MPI_User_function's.
template <class Float>
void add_halves(void* in, void* in_out, int* count, MPI_Datatype*) {
  const auto* a = static_cast<const Float*>(in);
  auto* b = static_cast<Float*>(in_out);
  for (int i = 0; i < *count; ++i) b[i] = Float(static_cast<float>(a[i]) + static_cast<float>(b[i]));
}

void check(int status, const char* what) {
  expect(status == MPI_SUCCESS, "communicator: {} failed with code {}", what, status);
}

class MpiCommunicator final : public Communicator {
 public:
  struct World {
    std::shared_ptr<const Mpi> mpi;
    std::unique_ptr<CommunicationThread> thread;
    int rank = 0, size = 1;
    MPI_Op add_f16, add_bf16;
  };

  explicit MpiCommunicator(World world)
      : Communicator(world.rank, world.size),
        mpi_(std::move(world.mpi)),
        thread_(std::move(world.thread)),
        add_f16_(world.add_f16),
        add_bf16_(world.add_bf16) {}

  ~MpiCommunicator() override {
    if (std::uncaught_exceptions() > 0) {  // the others may never come to an orderly end
      static_cast<void>(thread_.release());
      return;
    }
    thread_->post([mpi = mpi_] { mpi->finalize(); });
  }

  std::string_view transport() const override { return "MPI"; }

  Ticket start_all_reduce(const Tensor& data, Reduction reduction) override {
    return start(data, [this, reduction](const Tensor& host) {
      in_pieces(host.numel(), size_of(host.dtype()), [&](int64_t begin, int count) {
        MPI_Request request;
        check(mpi_->iallreduce(MPI_IN_PLACE, address(host, begin), count, mpi_->type_of(host.dtype()),
                               operation(reduction, host.dtype()), mpi_->world(), &request),
              "MPI_Iallreduce");
        complete(request);
      });
    });
  }

  Ticket start_reduce_scatter(const Tensor& data) override {
    const int64_t part = part_of(data, "reduce_scatter");
    return start(data, [this, part](const Tensor& host) {
      const int64_t bytes = size_of(host.dtype());
      in_pieces(part, world() * bytes, [&](int64_t begin, int count) {
        const Tensor pieces = Tensor::empty({world() * count}, host.dtype());  // side by side, as MPI wants them
        for (int to = 0; to < world(); ++to)
          std::memcpy(address(pieces, to * int64_t{count}), address(host, to * part + begin), count * bytes);
        MPI_Request request;
        check(mpi_->ireduce_scatter_block(pieces.address(), address(host, rank() * part + begin), count,
                                          mpi_->type_of(host.dtype()), operation(Reduction::sum, host.dtype()),
                                          mpi_->world(), &request),
              "MPI_Ireduce_scatter_block");
        complete(request);
      });
    });
  }

  Ticket start_all_gather(const Tensor& data) override {
    const int64_t part = part_of(data, "all_gather");
    return start(data, [this, part](const Tensor& host) {
      const MPI_Datatype type = mpi_->type_of(host.dtype());
      MPI_Request request;
      check(mpi_->iallgather(MPI_IN_PLACE, 0, type, host.address(), static_cast<int>(part), type, mpi_->world(),
                             &request),
            "MPI_Iallgather");
      complete(request);
    });
  }

  Ticket start_broadcast(const Tensor& data, int root) override {
    return start(data, [this, root](const Tensor& host) {
      in_pieces(host.numel(), size_of(host.dtype()), [&](int64_t begin, int count) {
        MPI_Request request;
        check(mpi_->ibcast(address(host, begin), count, mpi_->type_of(host.dtype()), root, mpi_->world(), &request),
              "MPI_Ibcast");
        complete(request);
      });
    });
  }

  void wait(Ticket ticket) override {
    thread_->wait(ticket);
    while (!staged_.empty() && staged_.begin()->first <= ticket) {
      staged_.begin()->second.device.copy_from(
          staged_.begin()->second.host.to(staged_.begin()->second.device.device()));
      staged_.erase(staged_.begin());
    }
  }

  void barrier() override { all_reduce(Tensor::zeros({1}, DType::i32)); }

  Usage usage() const override { return thread_->usage(); }

 private:
  /// A tensor of a GPU and the host's copy that travels.
  struct Staged {
    Tensor device;
    Tensor host;
  };

  template <class Collective>
  Ticket start(const Tensor& data, Collective collective) {
    expect(data.contiguous(), "communicator: a tensor of shape {} with strides {} must be contiguous", data.shape(),
           data.strides());
    const Tensor host = data.device().is_cpu() ? data : data.to(Device::cpu());
    const Ticket ticket = thread_->post([collective, host] { collective(host); });
    if (!data.device().is_cpu()) staged_[ticket] = {data, host};
    return ticket;
  }

  int64_t part_of(const Tensor& data, const char* what) const {
    const int64_t part = data.numel() / world();
    expect(data.rank() == 1 && part * world() == data.numel(), "{}: the shape {} does not split into {} equal parts",
           what, data.shape(), world());
    expect(part <= std::numeric_limits<int>::max(), "{}: {} elements are more than MPI counts; use smaller buckets",
           what, part);
    return part;
  }

  MPI_Op operation(Reduction reduction, DType dtype) const {
    const bool half = dtype == DType::f16 || dtype == DType::bf16;
    expect(!half || reduction == Reduction::sum, "all_reduce: of {} there is only a sum", dtype);
    if (half) return dtype == DType::f16 ? add_f16_ : add_bf16_;
    if (reduction == Reduction::sum) return mpi_->sum();
    return reduction == Reduction::max ? mpi_->max() : mpi_->min();
  }

  static void* address(const Tensor& host, int64_t element) {
    return static_cast<std::byte*>(host.address()) + element * size_of(host.dtype());
  }

  /// Runs `move(begin, count)` on pieces of `size` elements, which take `bytes` each, that MPI can count, and for which
  /// it finds its buffer again: one of more than 32 MiB comes fresh from the kernel each time, and its pages cost more
  /// than the sum.
  template <class Move>
  static void in_pieces(int64_t size, int64_t bytes, Move move) {
    constexpr int64_t kPieceBytes = 4 << 20;
    const int64_t longest = std::max<int64_t>(1, kPieceBytes / bytes);
    for (int64_t begin = 0; begin < size; begin += longest)
      move(begin, static_cast<int>(std::min(longest, size - begin)));
  }

  /// MPI moves on only inside its calls. While nobody waits, computation has the core most of the time.
  void complete(MPI_Request request) const {
    constexpr auto kPause = std::chrono::microseconds(50);
    for (int done = 0;;) {
      check(mpi_->test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      if (done != 0) return;
      if (thread_->is_awaited()) std::this_thread::yield();
      else std::this_thread::sleep_for(kPause);
    }
  }

  std::shared_ptr<const Mpi> mpi_;
  std::unique_ptr<CommunicationThread> thread_;
  MPI_Op add_f16_, add_bf16_;
  std::map<Ticket, Staged> staged_;
};

}  // namespace

std::unique_ptr<Communicator> open_mpi_communicator() {
  MpiCommunicator::World world{.mpi = std::make_shared<const Mpi>(),
                               .thread = std::make_unique<CommunicationThread>(),
                               .add_f16 = {},
                               .add_bf16 = {}};
  const Mpi& mpi = *world.mpi;
  const auto initialize = [&] {
    int initialized = 0;
    int provided = 0;
    check(mpi.initialized(&initialized), "MPI_Initialized");
    expect(initialized == 0, "communicator: MPI was started before; open one communicator per process");
    check(mpi.init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    check(mpi.comm_rank(mpi.world(), &world.rank), "MPI_Comm_rank");
    check(mpi.comm_size(mpi.world(), &world.size), "MPI_Comm_size");
    check(mpi.op_create(add_halves<Half>, 1, &world.add_f16), "MPI_Op_create");
    check(mpi.op_create(add_halves<BFloat16>, 1, &world.add_bf16), "MPI_Op_create");
  };
  world.thread->wait(world.thread->post(initialize));
  return std::make_unique<MpiCommunicator>(std::move(world));
}

}  // namespace tessera
