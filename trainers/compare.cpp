#include "trainers/compare.h"

#include <cmath>
#include <functional>
#include <map>
#include <tuple>

#include "framework/amp/autopsy.h"
#include "trainers/trainer.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

constexpr double kAlwaysAllowed = 1e-5;
constexpr double kActivationFactor = 2, kGradientFactor = 3;

// One result of an op: the layer, the op, and how often the layer had used that op before.
struct Place {
  std::string layer;
  std::string op;
  int occurrence = 0;

  friend bool operator<(const Place& a, const Place& b) {
    return std::tie(a.layer, a.op, a.occurrence) < std::tie(b.layer, b.op, b.occurrence);
  }
};

using Inputs = std::span<const Variable* const>;
using Visit = std::function<void(const Place& place, Inputs inputs, const Tensor& output)>;

bool is_view(const Tensor& output, Inputs inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [&](const Variable* input) {
    return input->defined() && output.shares_memory_with(input->value());
  });
}

// The pass, with every floating result shown to `visit`, which may overwrite it. Views and the loss are none.
Pass watch(const Pass& pass, const Visit& visit) {
  const auto layer = std::make_shared<std::string>("the input");
  const auto seen = std::make_shared<std::map<Place, int>>();
  return pass.with_observer([=](const char* op, Inputs inputs, std::span<const Tensor> outputs) {
    if (const auto name = layer_of(inputs)) *layer = *name;
    for (const Tensor& output : outputs) {
      if (!is_floating(output.dtype()) || output.numel() == 1 || is_view(output, inputs)) continue;
      const int occurrence = (*seen)[{*layer, op}]++;
      visit({*layer, op, occurrence}, inputs, output);
    }
  });
}

Tensor on_host(const Tensor& tensor) { return tensor.to(Device::cpu()).to(DType::f64); }

// Sums for ‖x − factor·y‖ / ‖x‖ over several tensors.
struct Difference {
  double squared_error = 0;
  double squared_norm = 0;

  void add(const Tensor& x, const Tensor& y, double factor = 1) {
    const std::vector<double> a = on_host(x).to_vector<double>(), b = on_host(y).to_vector<double>();
    for (size_t i = 0; i < a.size(); ++i) {
      squared_error += (a[i] - factor * b[i]) * (a[i] - factor * b[i]);
      squared_norm += a[i] * a[i];
    }
  }
  double relative() const {
    return squared_norm > 0 || squared_error > 0 ? std::sqrt(squared_error / squared_norm) : 0;
  }
};

// What is computed with: a model and its weights.
struct Side {
  const LanguageModel& model;
  const ParameterArena& arena;

  // Forward and backward over one batch; the gradients stay in the arena, multiplied by `scale`.
  double run(const Batch& batch, const Pass::Options& options, double scale, const Visit& visit) const {
    const Device device = arena.weights().device();
    const Shape shape{batch.rows, static_cast<int64_t>(batch.ids.size()) / batch.rows};
    arena.begin_window();
    const Pass pass = watch(Pass::recording(options), visit);
    const Variable loss =
        model.loss(pass.input(Tensor::from(batch.ids, shape, device)), Tensor::from(batch.targets, shape, device));
    backward(loss, scale);
    arena.finish_window();
    return loss.value().item();
  }

  std::map<std::string, Tensor> gradients() const {
    std::map<std::string, Tensor> all;
    for (const auto& entry : arena.entries()) all[entry.parameter->name] = on_host(entry.parameter->gradient);
    return all;
  }
  bool gradients_are_finite() const {
    const std::vector<double> values = on_host(arena.gradients()).to_vector<double>();
    return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
  }
};

// One step of a, of b, and of the plain run, and what they differ in.
class StepComparison {
 public:
  StepComparison(const Side& a, const Side& b, Batch batch, const Pass::Options& pass)
      : a_(a), b_(b), batch_(std::move(batch)), pass_(pass) {}

  std::pair<double, double> run(double b_scale, DType b_dtype) {
    const double loss_a = a_.run(batch_, pass_, 1, [&](const Place& place, Inputs inputs, const Tensor& output) {
      order_.push_back(place);
      expected_[place] = on_host(output);
      for (const Variable* input : inputs) {
        if (input->parameter()) parameters_[place].push_back(input->parameter()->name);
      }
    });
    gradients_ = a_.gradients();
    double loss_b = 0;
    // A dynamic loss scale that is still too large would halve, too.
    for (double scale = b_scale;; scale /= 2) {
      loss_b = b_.run(batch_, pass_, scale, [&](const Place& place, Inputs, const Tensor& output) {
        dtypes_[place] = output.dtype();
        note(found_, place, output);
      });
      gradient_errors(b_, scale, found_gradients_);
      if (scale <= 1 || b_.gradients_are_finite()) break;
    }
    run_plain(b_dtype);
    return {loss_a, loss_b};
  }

  std::vector<LayerError> errors() const {
    std::vector<LayerError> all;
    for (const Place& place : order_) {
      if (!found_.contains(place)) continue;  // b does without this op
      LayerError row{place.layer, place.op, {found_.at(place), limit(kActivationFactor, plain_.at(place))}};
      const auto found = found_gradients_.find(place);
      if (found != found_gradients_.end()) {
        row.gradient = {found->second, limit(kGradientFactor, plain_gradients_.at(place))};
      }
      all.push_back(std::move(row));
    }
    return all;
  }

 private:
  using Errors = std::map<Place, double>;

  static double limit(double factor, double plain) { return std::max(kAlwaysAllowed, factor * plain); }

  void note(Errors& errors, const Place& place, const Tensor& output) const {
    const auto reference = expected_.find(place);
    if (reference == expected_.end() || reference->second.shape() != output.shape()) return;
    Difference difference;
    difference.add(reference->second, output);
    errors[place] = difference.relative();
  }

  void gradient_errors(const Side& side, double scale, Errors& errors) const {
    const auto computed = side.gradients();
    for (const auto& [place, names] : parameters_) {
      Difference difference;
      for (const std::string& name : names) difference.add(gradients_.at(name), computed.at(name), 1 / scale);
      errors[place] = difference.relative();
    }
  }

  // a's arithmetic on numbers that `dtype` holds. The master weights come back afterwards.
  void run_plain(DType dtype) {
    const Tensor weights = a_.arena.weights().contiguous_copy();
    a_.arena.weights().copy_from(weights.to(dtype));
    a_.run(batch_, pass_, 1, [&](const Place& place, Inputs, const Tensor& output) {
      const auto kept = dtypes_.find(place);
      if (kept != dtypes_.end()) output.copy_from(output.to(kept->second));
      note(plain_, place, output);
    });
    gradient_errors(a_, 1, plain_gradients_);
    a_.arena.weights().copy_from(weights);
  }

  const Side& a_;
  const Side& b_;
  Batch batch_;
  Pass::Options pass_;
  std::vector<Place> order_;  // of execution
  std::map<Place, Tensor> expected_;
  std::map<Place, std::vector<std::string>> parameters_;
  std::map<Place, DType> dtypes_;
  std::map<std::string, Tensor> gradients_;
  Errors found_, plain_, found_gradients_, plain_gradients_;
};

void expect_same_parameters(const ParameterArena& a, const ParameterArena& b) {
  const auto shapes_of = [](const ParameterArena& arena) {
    std::map<std::string, std::string> shapes;
    for (const auto& entry : arena.entries()) shapes[entry.parameter->name] = to_string(entry.parameter->shape);
    return shapes;
  };
  const auto in_a = shapes_of(a), in_b = shapes_of(b);
  for (const auto& [mine, theirs] : {std::pair(in_a, in_b), std::pair(in_b, in_a)}) {
    for (const auto& [name, shape] : mine) {
      const auto other = theirs.find(name);
      expect(other != theirs.end() && other->second == shape,
             "compare: a and b are different models: '{}' is {} in one and {} in the other; give both the same sizes",
             name, shape, other == theirs.end() ? "not there" : other->second);
    }
  }
}

// Parameter by parameter: the padding between them depends on the dtype.
void copy_weights(const ParameterArena& from, const ParameterArena& to) {
  std::map<std::string, Tensor> weights;
  for (const auto& entry : from.entries())
    weights[entry.parameter->name] = from.weights().slice(0, entry.begin, entry.end);
  for (const auto& entry : to.entries()) {
    const Tensor place = to.weights().slice(0, entry.begin, entry.end);
    place.copy_from(weights.at(entry.parameter->name).to(place.dtype()).to(place.device()));
  }
  to.refresh_mirror();
}

void keep_worse(BoundedError& kept, const BoundedError& other) {
  if (!(other.error / other.limit <= kept.error / kept.limit)) kept = other;
}

}  // namespace

std::vector<LayerError> compare_steps(const Config& a, const Config& b, int64_t steps,
                                      std::vector<std::pair<double, double>>& losses) {
  if (is_16bit_float(a.dtype)) throw UsageError("compare: a is the reference; set a.dtype to float32 or float64");
  Trainer reference(a);
  LanguageModel model_b(model_options(b, reference.data().vocab_size()));
  const ParameterArena arena_b(model_b, arena_options(b, Device::parse(b.device)));
  expect_same_parameters(reference.arena(), arena_b);
  const Side side_a{reference.model(), reference.arena()}, side_b{model_b, arena_b};
  std::vector<LayerError> worst;
  for (int64_t step = 0; step < steps; ++step) {
    copy_weights(reference.arena(), arena_b);
    const Rows rows = reference.data().micro_batches(reference.iteration()).front();
    StepComparison comparison(
        side_a, side_b, reference.data().training_batch(rows),
        {.iteration = reference.iteration(), .seed = static_cast<uint64_t>(a.seed), .first_sample = rows.begin});
    losses.push_back(comparison.run(b.first_loss_scale(), b.dtype));
    const std::vector<LayerError> now = comparison.errors();
    if (worst.empty()) worst = now;
    for (size_t i = 0; i < now.size(); ++i) {
      keep_worse(worst[i].activation, now[i].activation);
      if (now[i].gradient) keep_worse(*worst[i].gradient, *now[i].gradient);
    }
    reference.step();
  }
  return worst;
}

}  // namespace tessera
