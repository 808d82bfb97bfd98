// Finds where the first NaN or infinity of a pass came from: forward or backward, which op, which layer.
//
//     Autopsy autopsy;
//     Pass pass = autopsy.watch(Pass::recording({…}));
//     backward(model.loss(pass.input(ids), targets), scale);
//     if (autopsy.finding()) print(autopsy.finding()->describe());
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "framework/autograd/autograd.h"
#include "framework/parameters/arena.h"

namespace tessera {

/// The layer whose parameters an op with these inputs uses, "blocks.3.attention.to_q"; none where it uses none.
std::optional<std::string> layer_of(std::span<const Variable* const> inputs);

/// The first tensor that went bad.
struct Finding {
  std::string phase;          ///< "forward", "backward" or "reduce"
  std::string op;             ///< that computed it
  std::string layer;          ///< whose parameters the op used, or the last such layer before it
  Shape shape;                ///< of the tensor
  int64_t bad = 0;            ///< elements that are not finite
  double largest_finite = 0;  ///< largest magnitude among the others

  /// One sentence.
  std::string describe() const;
};

/// The first gradient of the arena that is not finite, after its sum over ranks: phase "reduce". It tells something
/// where every rank's own forward and backward pass are finite.
std::optional<Finding> find_in_reduced(const ParameterArena& arena);

class Autopsy {
 public:
  Autopsy() : record_(std::make_shared<Record>()) {}

  /// The pass, with every value and every gradient looked at. Slow: each tensor is copied to the host.
  Pass watch(const Pass& pass);

  const std::optional<Finding>& finding() const { return record_->finding; }

 private:
  friend std::optional<Finding> find_in_reduced(const ParameterArena& arena);

  struct Record {
    std::string layer = "the input";
    std::optional<Finding> finding;
  };
  static void look_at(Record& record, const char* phase, const char* op, const Tensor& tensor);

  std::shared_ptr<Record> record_;
};

}  // namespace tessera
