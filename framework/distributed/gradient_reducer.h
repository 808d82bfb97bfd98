// Adds up the gradients of all ranks while backward still computes: the arena is cut into consecutive buckets, and a
// bucket's collective is started when the last gradient in it is announced, always in the order of the arena. Whatever
// a step left without a gradient is reduced as zero, so ranks need not use the same parameters.
#pragma once

#include <unordered_map>

#include "framework/autograd/pass.h"
#include "framework/distributed/communicator.h"
#include "framework/parameters/arena.h"

namespace tessera {

class GradientReducer {
 public:
  /// What a rank gets: the sum of all gradients, or that of its part of each bucket (ZeRO-1; the rest is undefined).
  enum class Mode { all, own_part };
  struct Options {
    int64_t first_bucket_bytes = int64_t{1} << 20;  ///< small, so that communication begins early
    int64_t bucket_bytes = int64_t{25} << 20;
    Mode mode = Mode::all;
    bool in_bf16 = false;  ///< round to bfloat16 on the way: half the bytes, sums rounded after every addition
  };
  struct Bucket {
    ArenaRange range;
    double started = 0;  ///< seconds of the steady clock when the collective of the last window was started
  };

  /// Both must outlive the reducer. The arena's size must split into as many parts as there are ranks
  /// (`ParameterArena::Options::parts`).
  GradientReducer(const ParameterArena& arena, Communicator& communicator, const Options& options);
  GradientReducer(const ParameterArena&& arena, Communicator& communicator, const Options& options) = delete;
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// Starts a window, as ParameterArena::begin_window.
  void begin_window();
  /// Starts buckets during the backward of `pass`, the last one of the window.
  void listen(const Pass& pass);
  /// Ends the window: starts what is left; from here on work on the device sees the sums.
  void finish_window();

  const std::vector<Bucket>& buckets() const { return buckets_; }
  /// The parts of the arena whose sums this rank has, in the order of the arena.
  std::vector<ArenaRange> owned() const;

 private:
  void announce(ParameterState& parameter);
  void start(size_t bucket);
  void unpack(size_t bucket);
  ArenaRange part_of(const ArenaRange& bucket) const;

  const ParameterArena* arena_;
  Communicator* communicator_;
  Options options_;
  std::vector<Bucket> buckets_;
  std::unordered_map<const ParameterState*, std::pair<size_t, size_t>> places_;  // first and last bucket of each
  std::vector<int64_t> missing_;  // gradients that a bucket still waits for
  size_t started_ = 0;            // buckets so far in this window
  std::vector<Tensor> packed_;    // bf16 copies under way
  Communicator::Ticket last_ = 0;
};

/// Cuts `arena` where a gradient ends once a bucket has `first_bytes`, later ones `bytes`, and into multiples of
/// `parts` blocks of 256 bytes.
std::vector<ArenaRange> cut_into_buckets(const ParameterArena& arena, int64_t first_bytes, int64_t bytes,
                                         int64_t parts);

}  // namespace tessera
