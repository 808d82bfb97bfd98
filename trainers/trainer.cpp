#include "trainers/trainer.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "framework/data/synthetic.h"
#include "framework/distributed/agreement.h"
#include "framework/distributed/sharded_state.h"
#include "framework/machine.h"
#include "framework/tensor/allocator.h"
#include "trainers/config/options.h"
#include "trainers/trainer_parts.h"

namespace tessera {
namespace {

// The scale of another precision or another rule says nothing about this one's.
void restart_loss_scale(StepState& state, const StepState& initial, std::vector<std::string>& notices) {
  if (state.scale != initial.scale) {
    notices.push_back(format_message("the loss scale starts anew at {}", {initial.scale}));
  }
  state.scale = initial.scale;
  state.growth_tracker = initial.growth_tracker;
  state.hysteresis_left = initial.hysteresis_left;
}

// A scale that the scaler has just moved away from was too large, as long as it is one that float16 needs: PyTorch's
// documentation calls one below 1 a sign that something else is wrong.
const char* reason_of_skip(const StepState& before, const StepState& after) {
  if (!std::isfinite(after.loss)) return kLossNotFinite;
  const bool scaler_moved = after.scale < before.scale || after.hysteresis_left < before.hysteresis_left;
  return scaler_moved && after.scale >= 1 ? kLossScaleTooLarge : kGradientNotFinite;
}

}  // namespace

Trainer::Trainer(const Config& config, std::shared_ptr<Communicator> ranks,
                 const std::optional<Tokenizer>& trained_with)
    : config_(config),
      ranks_(std::move(ranks)),
      device_(device_of(config)),
      data_(open_data(config, *ranks_, trained_with)),
      model_(model_options(config, data_.vocab_size())),
      arena_(make_arena(model_, config, device_, ranks_->world())),
      reducer_(arena_, *ranks_, reducer_options(config)),
      optimizer_(make_optimizer(arena_, config, reducer_.owned())),
      uploader_(device_),
      graph_(device_, static_cast<uint64_t>(config.seed), reason_for_no_graph(config, *ranks_)),
      state_buffers_{PinnedBuffer(device_, sizeof(StepState)), PinnedBuffer(device_, sizeof(StepState))},
      vote_(Tensor::zeros({1}, DType::f64, device_)),
      vote_buffers_{PinnedBuffer(device_, sizeof(double)), PinnedBuffer(device_, sizeof(double))},
      state_(optimizer_.control().read()),
      applied_(state_) {
  allow_tf32(config.tf32);
}

StepReport Trainer::step() {
  begin_step();
  return finish_step();
}

// The host's part of a step. On a GPU it waits for nothing; once a shape of step is known, it is one call to the
// device.
void Trainer::begin_step() {
  const int64_t iteration = begun_++;
  const double tokens = data_.counted_tokens(iteration);
  vote_.fill(stop_asked_ ? 1 : 0);
  graph_.run(micro_steps(iteration), iteration, tokens,
             [&](std::span<const MicroInput> inputs, DropoutKeys* keys) { enqueue(inputs, iteration, tokens, keys); });
  optimizer_.control().copy_to(state_buffer(iteration));
  vote_buffer(iteration).receive(vote_);
}

// Samples are counted within the global batch: the iteration keys randomness too, and a step whose micro-batches have
// the same numbers as the last one's can be a replay of it.
std::vector<MicroStep> Trainer::micro_steps(int64_t iteration) const {
  const int64_t first = iteration * config_.batch_size * config_.gradient_accumulation_steps;
  std::vector<MicroStep> steps;
  for (const Rows rows : data_.micro_batches(iteration)) {
    steps.push_back({data_.training_batch(rows), rows.begin - first});
  }
  return steps;
}

// Read in execution order: this is training.
void Trainer::enqueue(std::span<const MicroInput> inputs, int64_t iteration, double tokens, DropoutKeys* keys) {
  const StepControl& control = optimizer_.control();
  control.begin_step();
  reducer_.begin_window();
  for (const MicroInput& input : inputs) {
    const Pass pass = Pass::recording({.iteration = iteration,
                                       .seed = static_cast<uint64_t>(config_.seed),
                                       .first_sample = input.first_sample,
                                       .keys = keys,
                                       .loss_scale = control.scale()});
    beat(Phase::forward);
    const Variable loss = model_.loss(pass.input(input.ids), input.targets, tokens);
    control.add_loss(loss.value());
    if (&input == &inputs.back()) reducer_.listen(pass);
    beat(Phase::backward);
    backward(loss, control.scale().to(loss.dtype()));
  }
  beat(Phase::reduce);
  reducer_.finish_window();
  agree();

  beat(Phase::update);
  update();
}

StepReport Trainer::finish_step() {
  const StepState before = state_;
  state_ = StepControl::copied(state_buffer(before.iteration));
  vote_buffer(before.iteration).wait();
  stop_agreed_ = *static_cast<const double*>(vote_buffer(before.iteration).data()) > 0;
  if (state_.apply != 0) {
    applied_ = state_;
  } else {
    ++skipped_;
    begun_ = state_.iteration;
    optimizer_.control().clear_hold();
  }
  return report(before);
}

// The loss of the global batch, and whether to stop.
void Trainer::agree() {
  if (ranks_->world() == 1) return;
  ranks_->all_reduce(optimizer_.control().loss().view({1}));
  ranks_->all_reduce(vote_);
}

// With ZeRO every rank decides and updates its own part of the weights, and the parts go round.
void Trainer::update() {
  optimizer_.scan();
  if (config_.zero == 1) add_up_scans(optimizer_.control(), *ranks_);
  optimizer_.decide();
  optimizer_.update();
  if (config_.zero == 0 || ranks_->world() == 1) return;
  gather_parts(arena_.weights(), reducer_, *ranks_);
  arena_.refresh_mirror();
}

Variable Trainer::forward(const Pass& pass, const Batch& batch, double denominator) const {
  const Tensor ids = uploader_.upload(batch.ids, {batch.rows, config_.block_size});
  const Tensor targets = uploader_.upload(batch.targets, ids.shape());
  return model_.loss(pass.input(ids), targets, denominator);
}

StepReport Trainer::report(const StepState& before) const {
  StepReport report;
  report.step = state_.iteration;
  report.applied = state_.applied;
  report.train_loss = state_.loss;
  report.learning_rate = state_.learning_rate;
  report.grad_norm = state_.gradient_norm;
  if (config_.grad_clip > 0) report.grad_norm_clipped = std::min(state_.gradient_norm, config_.grad_clip);
  report.scale = before.scale;
  report.growth_tracker = state_.growth_tracker;
  if (state_.apply == 0) report.skipped_because = reason_of_skip(before, state_);
  report.skipped = skipped_;
  report.tokens = state_.iteration * tokens_per_step();
  report.peak_memory_bytes = device_.is_cpu() ? peak_resident_bytes() : allocator_stats(device_).peak_bytes;
  return report;
}

bool Trainer::evaluate(StepReport& report, const std::function<bool()>& stop) const {
  const std::optional<double> train_loss = evaluate(Split::train, stop);
  if (!train_loss) return false;
  const std::optional<double> val_loss = evaluate(Split::validation, stop);
  if (!val_loss) return false;
  if (data_.has_answers()) {
    report.val_accuracy = exact_match_share(stop);
    if (!report.val_accuracy) return false;
  }
  report.eval_train_loss = train_loss;
  report.val_loss = val_loss;
  return true;
}

// The mean loss over the split's evaluation rows, every counted token weighing the same.
std::optional<double> Trainer::evaluate(Split split, const std::function<bool()>& stop) const {
  const Pass pass = Pass::inference();
  double sum = 0;
  double count = 0;
  for (const Rows rows : data_.evaluation_batches(split, config_.eval_iters)) {
    if (stop && stop()) return {};
    beat(Phase::evaluation);
    const Batch batch = data_.evaluation_batch(split, rows, config_.eval_iters);
    sum += forward(pass, batch, 1).value().item();
    count += batch.counted;
  }
  return sum_over_ranks(sum, *ranks_) / sum_over_ranks(count, *ranks_);
}

// The share of validation samples whose every answer token is the likeliest one.
std::optional<double> Trainer::exact_match_share(const std::function<bool()>& stop) const {
  const Pass pass = Pass::inference();
  double right = 0;
  double all = 0;
  for (const Rows rows : data_.evaluation_batches(Split::validation, config_.eval_iters)) {
    if (stop && stop()) return {};
    beat(Phase::evaluation);
    const Batch batch = data_.evaluation_batch(Split::validation, rows, config_.eval_iters);
    const Tensor ids = uploader_.upload(batch.ids, {batch.rows, config_.block_size});
    const std::vector<int32_t> predictions = ops::arg_max(model_(pass.input(ids)).value()).to_vector<int32_t>();
    for (int64_t row = 0; row < batch.rows; ++row) {
      const auto part = [&](const std::vector<int32_t>& tokens) {
        return std::span(tokens).subspan(static_cast<size_t>(row * config_.block_size),
                                         static_cast<size_t>(config_.block_size));
      };
      right += exact_match(part(predictions), part(batch.targets)) ? 1 : 0;
    }
    all += static_cast<double>(batch.rows);
  }
  return sum_over_ranks(right, *ranks_) / std::max(1.0, sum_over_ranks(all, *ranks_));
}

int64_t Trainer::tokens_per_step() const {
  return config_.batch_size * config_.gradient_accumulation_steps * config_.block_size;
}

Tensor Trainer::weights() const {
  return arena_.masters().defined() ? gathered_on_rank_0(arena_.masters(), reducer_, *ranks_) : arena_.weights();
}

OptimizerBuffers Trainer::optimizer_buffers() const {
  OptimizerBuffers buffers = optimizer_.state_buffers();
  if (config_.zero == 0) return buffers;
  for (auto& [kind, buffer] : buffers) buffer = gathered_on_rank_0(buffer, reducer_, *ranks_);
  return buffers;
}

void Trainer::save_applied(const CheckpointStore& store) const {
  save(store, applied_, skipped_ - (state_.iteration - applied_.iteration));
}

void Trainer::save(const CheckpointStore& store, const StepState& step, int64_t skipped) const {
  expect(begun_ == state_.iteration, "trainer: step {} is under way; finish it before saving", begun_);
  beat(Phase::save);
  const Tensor all_weights = weights();
  const OptimizerBuffers buffers = optimizer_buffers();
  nlohmann::json state = architecture_of(config_, data_.vocab_size());
  state["skipped"] = skipped;
  state["tokenizer"] = data_.tokenizer().to_json();
  state["data_fingerprint"] = data_.fingerprint();
  state["dtype"] = name_of(config_.dtype);
  state["loss_scale"] = config_.loss_scale;
  state["optimizer"] = find_option("optimizer")->text(config_);
  state["order"] = order_of(config_);
  const auto write = [&] { store.save(arena_, all_weights, buffers, step, state); };
  on_rank_0(write, *ranks_);
}

std::vector<std::string> Trainer::load(const std::filesystem::path& checkpoint) {
  const CheckpointState saved = load_state(checkpoint);
  expect_same_architecture(saved, config_);
  expect_same_optimizer(saved, config_);
  std::vector<std::string> notices;
  expect(saved.at("tokenizer") == data_.tokenizer().to_json(),
         "resume: the tokenizer of {} is not that of this data; resume with the data that the run began with",
         checkpoint.string());
  if (saved.text_at("data_fingerprint") != data_.fingerprint()) {
    notices.emplace_back(
        "the data has changed since the checkpoint was made; the order of the batches is not the same");
  }
  if (saved.has("order") && saved.text_at("order") != order_of(config_)) {
    notices.push_back("the checkpoint was trained with " + saved.text_at("order") + "; going on with " +
                      order_of(config_) + ", the order of the batches is not the same");
  }
  if (saved.text_at("dtype") != name_of(config_.dtype)) {
    notices.push_back("the checkpoint was trained in " + saved.text_at("dtype") + "; going on in " +
                      std::string(name_of(config_.dtype)));
  }
  load_model(checkpoint, arena_, reducer_.owned());
  load_optimizer(checkpoint, arena_, optimizer_.state_buffers(), reducer_.owned());
  state_ = saved.step;
  begun_ = state_.iteration;
  if (saved.text_at("dtype") != name_of(config_.dtype) || saved.text_at("loss_scale") != config_.loss_scale) {
    restart_loss_scale(state_, initial_state(config_), notices);
  }
  optimizer_.control().write(state_);
  applied_ = state_;
  skipped_ = saved.integer_at("skipped");
  return notices;
}

}  // namespace tessera
