// A training's saved states: folders step_00000300/{model.safetensors, optimizer.safetensors, state.json, COMPLETE} in
// a run folder, and a link `latest`. A checkpoint is written beside, flushed and renamed, so one that exists is whole;
// tensors are stored by parameter name, so layout, device and world size may change between saving and loading.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "framework/parameters/arena.h"
#include "kernels/common/step_state.h"

namespace tessera {

/// Buffers of an optimizer, each laid out like the arena's weights.
using OptimizerBuffers = std::map<std::string, Tensor>;

class CheckpointStore {
 public:
  /// `keep`: complete checkpoints that stay; 0 keeps all.
  CheckpointStore(std::filesystem::path run_folder, int64_t keep) : folder_(std::move(run_folder)), keep_(keep) {}

  /// Saves the state after iteration `step.iteration` and removes the oldest beyond `keep`. `weights` is laid out like
  /// the arena's, or these. `state` is whatever else the caller wants back. On an error nothing that was saved before
  /// is lost.
  void save(const ParameterArena& arena, const Tensor& weights, const OptimizerBuffers& optimizer,
            const StepState& step, const nlohmann::json& state) const;

  /// The newest complete checkpoint.
  std::optional<std::filesystem::path> latest() const;

 private:
  void prune() const;

  std::filesystem::path folder_;
  int64_t keep_;
};

/// Fills the arena's weights, their mirror, what it keeps of the masters, the elements `owned` (empty: all), and its
/// frozen parameters from `checkpoint`/model.safetensors. Throws, before anything is changed, if a tensor is missing,
/// left over, or of another shape.
void load_model(const std::filesystem::path& checkpoint, const ParameterArena& arena,
                const std::vector<ArenaRange>& owned = {});
/// The same for parameters that have their names and values, of a model outside of an arena or a part of one. Throws if
/// two have one name.
void load_model(const std::filesystem::path& checkpoint, std::span<const ParameterPtr> parameters);
/// Fills the buffers, which hold the elements `owned` (empty: all) of the arena's one after the other, from
/// `checkpoint`/optimizer.safetensors.
void load_optimizer(const std::filesystem::path& checkpoint, const ParameterArena& arena,
                    const OptimizerBuffers& optimizer, const std::vector<ArenaRange>& owned = {});

/// `checkpoint`/state.json.
struct CheckpointState {
  StepState step;
  std::string text;            ///< the caller's JSON, as text
  std::filesystem::path path;  ///< of the file, for messages

  /// Whether the caller's JSON has that member.
  bool has(const char* name) const;
  /// A value of the caller's JSON. Error: there is none of that name, or it is of another kind.
  nlohmann::json at(const char* name) const;
  int64_t integer_at(const char* name) const;
  std::string text_at(const char* name) const;
};
CheckpointState load_state(const std::filesystem::path& checkpoint);

}  // namespace tessera
