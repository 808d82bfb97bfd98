#include "framework/io/checkpoint.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "framework/io/atomic_file.h"
#include "framework/io/checkpoint_folders.h"
#include "framework/io/checkpoint_tensors.h"
#include "framework/io/file.h"
#include "framework/io/json_reason.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFormatVersion = 2;

// ── Tensors by name ──

// Adds the places in a buffer that holds the elements `owned` of the arena's, one after the other.
void want_into(Wanted& wanted, const Tensor& buffer, const ParameterArena::Entry& entry,
               const std::vector<ArenaRange>& owned) {
  wanted.shape = entry.parameter->shape;
  visit_parts(owned, {entry.begin, entry.end}, [&](const ArenaRange& part, int64_t offset) {
    wanted.places.push_back({part.begin - entry.begin, buffer.slice(0, offset, offset + part.size())});
  });
}

std::map<std::string, Tensor> named(std::span<const ParameterPtr> parameters) {
  expect_distinct_names(parameters, "checkpoint");
  std::map<std::string, Tensor> tensors;
  for (const ParameterPtr& parameter : parameters) tensors[parameter->name] = Parameter(parameter).value();
  return tensors;
}

Tensor part(const Tensor& buffer, const ParameterArena::Entry& entry) {
  return buffer.slice(0, entry.begin, entry.end).view(entry.parameter->shape);
}

// An arena's names are distinct: it saw to that when it was built, and they stay.
std::map<std::string, Tensor> named(const ParameterArena& arena, const Tensor& weights) {
  std::map<std::string, Tensor> tensors = named(arena.frozen());
  for (const ParameterArena::Entry& entry : arena.entries()) tensors[entry.parameter->name] = part(weights, entry);
  return tensors;
}

std::map<std::string, Tensor> named(const ParameterArena& arena, const OptimizerBuffers& buffers) {
  std::map<std::string, Tensor> tensors;
  for (const auto& [kind, buffer] : buffers) {
    for (const ParameterArena::Entry& entry : arena.entries()) {
      tensors[entry.parameter->name + "." + kind] = part(buffer, entry);
    }
  }
  return tensors;
}

// ── The step state ──

// One list of members serves both directions.
template <class State, class Visit>
void visit_state(State& state, Visit&& visit) {
  visit("iteration", state.iteration);
  visit("applied", state.applied);
  visit("scale", state.scale);
  visit("growth_tracker", state.growth_tracker);
  visit("hysteresis_left", state.hysteresis_left);
  visit("consecutive_skips", state.consecutive_skips);
  visit("learning_rate", state.learning_rate);
  visit("gradient_factor", state.gradient_factor);
  visit("beta1_power", state.beta1_power);
  visit("beta2_power", state.beta2_power);
  visit("loss", state.loss);
  visit("gradient_norm", state.gradient_norm);
  visit("apply", state.apply);
}

json to_json(const StepState& step) {
  json object;
  visit_state(step, [&](const char* name, const auto& member) { object[name] = member; });
  return object;
}

std::string content_of(const fs::path& path) {
  try {
    return read_file(path);
  } catch (const Error& failure) {
    fail("checkpoint {}; {}", failure.what(), kGoBack);
  }
}

[[noreturn]] void fail_damaged(const fs::path& path, const json::exception& failure) {
  fail("checkpoint {}: it is damaged: {}; {}", path.string(), reason_of(failure), kGoBack);
}

// `value`, if it is of the kind wanted. A number that is not finite was saved as null.
template <class Value>
Value of_kind(const json& value, const char* name, const fs::path& path, const char* cure) {
  constexpr bool kReal = std::is_floating_point_v<Value>, kInteger = std::is_integral_v<Value>;
  if constexpr (kReal) {
    if (value.is_null()) return static_cast<Value>(NAN);
  }
  expect(kReal      ? value.is_number()
         : kInteger ? value.is_number_integer()
                    : value.is_string(),
         "checkpoint {}: {} is of type {}, {} is wanted; {}", path.string(), name, value.type_name(),
         kReal      ? "number"
         : kInteger ? "integer"
                    : "string",
         cure);
  return value.get<Value>();
}

// A member that every checkpoint has.
template <class Value>
Value member_of(const json& object, const char* name, const fs::path& path) {
  return of_kind<Value>(object.at(name), name, path, kGoBack);
}

// A checkpoint is not damaged because a caller asks it for what it was never given.
constexpr const char* kAskOtherwise = "read it with at(), which takes any type";

json parsed(const std::string& text, const fs::path& path) {
  try {
    return json::parse(text);
  } catch (const json::exception& failure) {
    fail_damaged(path, failure);
  }
}

StepState step_from_json(const json& object, const fs::path& path) {
  StepState step;
  visit_state(step,
              [&]<class Member>(const char* name, Member& member) { member = member_of<Member>(object, name, path); });
  expect(0 <= step.applied && step.applied <= step.iteration,
         "checkpoint {}: it is damaged: applied is {} and iteration {}; {}", path.string(), step.applied,
         step.iteration, kGoBack);
  return step;
}

}  // namespace

void CheckpointStore::save(const ParameterArena& arena, const Tensor& weights, const OptimizerBuffers& optimizer,
                           const StepState& step, const json& state) const {
  const fs::path final = checkpoint_path(folder_, step.iteration);
  const fs::path partial = partial_path(final);
  std::error_code error;
  fs::remove_all(partial, error);
  fs::create_directories(partial, error);
  expect(!error, "checkpoint {}: the folder cannot be made: {}", partial.string(), cause_and_cure(error.value()));
  try {
    write_tensors(partial / "model.safetensors", named(arena, weights));
    write_tensors(partial / "optimizer.safetensors", named(arena, optimizer));
    write_file(partial / "state.json",
               json{{"format_version", kFormatVersion}, {"step", to_json(step)}, {"trainer", state}}.dump(2) + "\n");
    write_file(partial / "COMPLETE", "");
    put_in_place(final);
    point_latest_to(final);
  } catch (const fs::filesystem_error& failure) {
    fs::remove_all(partial, error);
    fail("checkpoint {}: {}; earlier checkpoints are untouched", final.string(),
         cause_and_cure(failure.code().value()));
  } catch (const Error& failure) {
    fs::remove_all(partial, error);
    fail("{}; earlier checkpoints are untouched", failure.what());
  }
  prune();
}

std::optional<fs::path> CheckpointStore::latest() const {
  const std::vector<fs::path> all = complete_checkpoints(folder_);
  if (all.empty()) return {};
  return all.back();
}

void CheckpointStore::prune() const {
  if (keep_ <= 0) return;
  const std::vector<fs::path> all = complete_checkpoints(folder_);
  for (size_t i = 0; i + static_cast<size_t>(keep_) < all.size(); ++i) remove_checkpoint(all[i]);
}

void load_model(const fs::path& checkpoint, const ParameterArena& arena, const std::vector<ArenaRange>& owned) {
  std::map<std::string, Wanted> all = wholly_into(named(arena, arena.weights()));
  if (arena.masters().defined()) {
    for (const ParameterArena::Entry& entry : arena.entries())
      want_into(all[entry.parameter->name], arena.masters(), entry, arena.or_all(owned));
  }
  read_tensors(checkpoint / "model.safetensors", all);
  arena.refresh_mirror();
}

void load_model(const fs::path& checkpoint, std::span<const ParameterPtr> parameters) {
  read_tensors(checkpoint / "model.safetensors", wholly_into(named(parameters)));
  for (const ParameterPtr& parameter : parameters) refresh_mirror(*parameter);
}

void load_optimizer(const fs::path& checkpoint, const ParameterArena& arena, const OptimizerBuffers& optimizer,
                    const std::vector<ArenaRange>& owned) {
  std::map<std::string, Wanted> all;
  for (const auto& [kind, buffer] : optimizer) {
    for (const ParameterArena::Entry& entry : arena.entries())
      want_into(all[entry.parameter->name + "." + kind], buffer, entry, arena.or_all(owned));
  }
  read_tensors(checkpoint / "optimizer.safetensors", all);
}

CheckpointState load_state(const fs::path& checkpoint) {
  const fs::path path = checkpoint / "state.json";
  try {
    const json content = json::parse(content_of(path));
    const auto version = member_of<int64_t>(content, "format_version", path);
    expect(version == kFormatVersion,
           "checkpoint {}: its format version is {}, this program reads {}; go on with the program that wrote it",
           path.string(), version, kFormatVersion);
    return {step_from_json(content.at("step"), path), content.at("trainer").dump(), path};
  } catch (const json::exception& failure) {
    fail_damaged(path, failure);
  }
}

bool CheckpointState::has(const char* name) const { return parsed(text, path).contains(name); }

json CheckpointState::at(const char* name) const {
  const json values = parsed(text, path);
  if (values.contains(name)) return values.at(name);
  std::string held;
  for (const auto& value : values.items()) held += (held.empty() ? "" : ", ") + value.key();
  fail("checkpoint {}: it holds no value '{}'; ask for one of those that it holds: {}", path.string(), name,
       held.empty() ? "none" : held);
}

int64_t CheckpointState::integer_at(const char* name) const {
  return of_kind<int64_t>(at(name), name, path, kAskOtherwise);
}

std::string CheckpointState::text_at(const char* name) const {
  return of_kind<std::string>(at(name), name, path, kAskOtherwise);
}

}  // namespace tessera
