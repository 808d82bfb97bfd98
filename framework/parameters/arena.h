// All master weights of a model in one buffer, all gradients in another: matrices in reverse execution order, then
// vectors, each view starting at a multiple of 256 bytes, padding zero. So weight decay is a range, communication
// buckets are consecutive ranges in the order in which gradients become final, zeroing is one fill, an optimizer step
// one launch per range and a checkpoint contiguous writes.
#pragma once

#include <optional>
#include <vector>

#include "framework/parameters/arena_range.h"
#include "framework/parameters/visit.h"

namespace tessera {

class ParameterArena {
 public:
  /// Parts start at multiples of so many elements: 256 bytes where they have 16 bit.
  static constexpr int64_t kPartAlignment = 128;

  struct Options {
    uint64_t seed = 0;         ///< keys the first values of parameters that have none
    DType dtype = DType::f32;  ///< of weights and gradients; f64 for a double-precision model
    Device device = {};
    std::optional<DType> mirror = {};  ///< keep a 16-bit copy of the weights for the layers to use
    /// false: the mirror, which must be bf16, is all there is; AdamW rounds it stochastically. Gradients keep `dtype`.
    bool master_weights = true;
    int64_t parts = 1;  ///< the size splits into so many equal parts (of ranks), each a multiple of kPartAlignment
  };

  /// One parameter's place: elements [begin, end) of the buffers.
  struct Entry {
    ParameterPtr parameter;
    int64_t begin = 0;
    int64_t end = 0;
  };

  /// Names the model's parameters and repoints them. One that has values, from `initialize` or a checkpoint, keeps
  /// them, in this dtype; the others get their first. Frozen parameters get memory of their own. Throws if a parameter
  /// already lies in an arena, or if two have one name.
  template <Visitable Model>
  ParameterArena(Model& model, const Options& options)
      : ParameterArena((name_members(model), parameters(model)), options) {}
  /// The same for parameters that have their names.
  ParameterArena(std::vector<ParameterPtr> parameters, const Options& options);
  ParameterArena(const ParameterArena&) = delete;  // optimizers and reducers keep its address
  ParameterArena& operator=(const ParameterArena&) = delete;
  /// The parameters keep their values, without gradient and mirror; another arena may take them.
  ~ParameterArena();

  const Tensor& weights() const { return weights_; }
  const Tensor& gradients() const { return gradients_; }
  /// The 16-bit copy; undefined where none is kept, also where the weights themselves are 16-bit.
  const Tensor& mirror() const { return mirror_; }
  /// What `keep_masters` left of the float32 weights; undefined where `weights()` are all there is.
  const Tensor& masters() const { return masters_; }
  /// Elements [0, matrices_end) are matrices, which weight decay applies to; the rest are vectors.
  int64_t matrices_end() const { return matrices_end_; }
  int64_t size() const { return weights_.numel(); }
  ArenaRange matrices() const { return {0, matrices_end_}; }
  ArenaRange vectors() const { return {matrices_end_, size()}; }
  /// What an optimizer that owns `part` updates, its first element being number `offset` of the owned ones.
  Tensor trained(const ArenaRange& part, int64_t offset) const;
  /// The 16-bit copy that it refreshes; undefined where there is none.
  Tensor copied(const ArenaRange& part) const;
  /// `ranges`, or everything where there are none.
  std::vector<ArenaRange> or_all(std::vector<ArenaRange> ranges) const;
  /// The trainable parameters in buffer order.
  const std::vector<Entry>& entries() const { return entries_; }
  /// The frozen ones.
  const std::vector<ParameterPtr>& frozen() const { return frozen_; }

  /// Of the float32 weights keeps the elements `owned` alone, in `masters()`, one after the other; from here on
  /// `weights()`, and every parameter's value, are the 16-bit copy. For an arena that has one, before the optimizer.
  void keep_masters(const std::vector<ArenaRange>& owned);

  /// Starts an accumulation window: the next contribution to each gradient writes, later ones add.
  void begin_window() const;
  /// Ends it: gradients that got nothing become zero.
  void finish_window() const;
  /// Makes the mirror that of the weights, after these were written by anything but an optimizer.
  void refresh_mirror() const;

 private:
  std::vector<Entry> entries_;
  std::vector<ParameterPtr> frozen_;
  int64_t matrices_end_ = 0;
  Tensor weights_;
  Tensor gradients_;
  Tensor mirror_;
  Tensor masters_;
};

}  // namespace tessera
