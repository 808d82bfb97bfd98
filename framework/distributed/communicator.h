// The processes of one training, its ranks, and how they combine tensors. Libraries do the moving: MPI between CPUs,
// NCCL between GPUs; a world of one needs neither. Every rank must start the same collectives in the same order.
#pragma once

#include <memory>
#include <string_view>

#include "framework/distributed/heartbeat.h"
#include "framework/tensor/tensor.h"

namespace tessera {

class Connection;

class Communicator {
 public:
  /// Names a started collective; later ones have larger numbers.
  using Ticket = int64_t;
  enum class Reduction { sum, max, min };

  /// Seconds since the communicator was made. Collectives that overlap computation are busy without being waited for.
  struct Usage {
    double busy = 0;    ///< during which a collective was under way: started and not done
    double waited = 0;  ///< of these, what the caller spent in `wait`; the rest was hidden
  };

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// This process, from 0.
  int rank() const { return rank_; }
  /// How many there are.
  int world() const { return world_; }
  /// What moves the data: "MPI", "NCCL"; "nothing" in a world of one.
  virtual std::string_view transport() const = 0;
  /// True where collectives are work on the device, as kernels are: the host waits for none, a CUDA graph holds them.
  virtual bool on_stream() const { return false; }
  /// For a thread that watches over this rank; null where a collective that fails says so itself.
  virtual std::shared_ptr<Connection> connection() const { return nullptr; }

  // All of these work in place on contiguous memory, and return before they are done: until `wait`, nobody else may
  // touch `data`. Sums of bf16 and f16 are rounded after every addition.
  /// `data` of every rank becomes the sum (or the largest, least) over the ranks, the same bits everywhere.
  virtual Ticket start_all_reduce(const Tensor& data, Reduction reduction) = 0;
  /// `data` is [world · n]: part `rank` of it becomes the sum over the ranks, the rest is undefined afterwards.
  virtual Ticket start_reduce_scatter(const Tensor& data) = 0;
  /// `data` is [world · n]: part r becomes what rank r has there.
  virtual Ticket start_all_gather(const Tensor& data) = 0;
  /// `data` becomes that of rank `root`.
  virtual Ticket start_broadcast(const Tensor& data, int root) = 0;
  /// Work that is given to the data's device from now on sees the results of `ticket` and all before it. Throws what
  /// went wrong in them.
  virtual void wait(Ticket ticket) = 0;

  void all_reduce(const Tensor& data, Reduction reduction = Reduction::sum) { wait(start_all_reduce(data, reduction)); }
  void reduce_scatter(const Tensor& data) { wait(start_reduce_scatter(data)); }
  void all_gather(const Tensor& data) { wait(start_all_gather(data)); }
  void broadcast(const Tensor& data, int root = 0) { wait(start_broadcast(data, root)); }
  /// Returns once every rank has come here. Waits for the device.
  virtual void barrier() = 0;

  virtual Usage usage() const { return {}; }
  Heartbeat& heartbeat() { return *heartbeat_; }
  /// The same for somebody who may outlive the communicator.
  std::shared_ptr<const Heartbeat> shared_heartbeat() const { return heartbeat_; }

 protected:
  Communicator(int rank, int world) : rank_(rank), world_(world) {}

 private:
  int rank_;
  int world_;
  std::shared_ptr<Heartbeat> heartbeat_ = std::make_shared<Heartbeat>();
};

/// A world of one.
std::unique_ptr<Communicator> single_communicator();

/// The communicator of the ranks that a launcher (see Rendezvous) started, for tensors on `device`; a world of one
/// where none did. NCCL connects ranks that have a GPU of their own each, MPI all others. Once per process.
std::unique_ptr<Communicator> open_communicator(Device device);

/// Whether ranks on such devices are connected by MPI, which only mpirun and srun start.
bool needs_mpi(Device device);

}  // namespace tessera
