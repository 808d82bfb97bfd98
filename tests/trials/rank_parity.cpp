// The same training on several ranks and on one: `mpirun -n N rank_parity ITERATIONS TEXT` trains nanoGPT's model for
// the CPU both ways, in every setting that could make a difference, and prints how far losses and parameters lie apart.
// It exits with 1 where that is more than the bound.
#include <cmath>
#include <limits>
#include <string>

#include <fmt/format.h>

#include "framework/autograd/autograd.h"
#include "framework/distributed/agreement.h"
#include "framework/distributed/sharded_state.h"
#include "framework/machine.h"
#include "trainers/command_line.h"
#include "trainers/trainer.h"

namespace tessera {
namespace {

/// Another communicator, through which a gradient of this rank can become infinite on its way.
class SpoilingCommunicator final : public Communicator {
 public:
  explicit SpoilingCommunicator(Communicator& inner) : Communicator(inner.rank(), inner.world()), inner_(&inner) {}

  /// The next gradients that leave this rank hold an infinity.
  void spoil() { spoil_ = true; }

  std::string_view transport() const override { return inner_->transport(); }
  Ticket start_all_reduce(const Tensor& data, Reduction reduction) override {
    return inner_->start_all_reduce(spoilt(data), reduction);
  }
  Ticket start_reduce_scatter(const Tensor& data) override { return inner_->start_reduce_scatter(spoilt(data)); }
  Ticket start_all_gather(const Tensor& data) override { return inner_->start_all_gather(data); }
  Ticket start_broadcast(const Tensor& data, int root) override { return inner_->start_broadcast(data, root); }
  void wait(Ticket ticket) override { inner_->wait(ticket); }
  void barrier() override { inner_->barrier(); }

 private:
  const Tensor& spoilt(const Tensor& data) {
    if (spoil_ && data.numel() > 1) {
      data.slice(0, 0, 1).fill(std::numeric_limits<double>::infinity());
      spoil_ = false;
    }
    return data;
  }

  Communicator* inner_;
  bool spoil_ = false;
};

/// What a training came to, as one rank sees it.
struct Course {
  std::vector<double> losses;
  std::vector<bool> skipped;
  std::vector<std::pair<std::string, std::vector<float>>> parameters;  // by name
  bool skips_change_nothing = true;
};

/// Of all weights; nothing where only rank 0 has them all.
std::vector<float> values_of(const Tensor& weights) {
  return weights.defined() ? weights.to_vector<float>() : std::vector<float>();
}

void take_parameters(const ParameterArena& arena, const Tensor& weights, Course& course) {
  for (const ParameterArena::Entry& entry : arena.entries()) {
    course.parameters.emplace_back(entry.parameter->name, weights.slice(0, entry.begin, entry.end).to_vector<float>());
  }
}

struct Setting {
  std::string name;
  Config config;
  double loss_bound = 1e-6;       // relative, at every iteration
  double parameter_bound = 1e-5;  // relative norm of the difference, per tensor
  int64_t spoilt_iteration = -1;  // in which a gradient of the last rank is infinite
};

Course train(const Setting& setting, Communicator& ranks, int64_t iterations) {
  const auto shared = std::make_shared<SpoilingCommunicator>(ranks);
  Trainer trainer(setting.config, shared);
  Course course;
  for (int64_t i = 0; i < iterations; ++i) {
    if (i == setting.spoilt_iteration && ranks.rank() == ranks.world() - 1) shared->spoil();
    const std::vector<float> before = values_of(trainer.weights());
    const StepReport report = trainer.step();
    course.losses.push_back(report.train_loss);
    course.skipped.push_back(report.skipped_because.has_value());
    if (report.skipped_because) course.skips_change_nothing &= values_of(trainer.weights()) == before;
  }
  const Tensor weights = trainer.weights();
  if (weights.defined()) take_parameters(trainer.arena(), weights, course);
  return course;
}

/// The first half of a batch trains one model, the second half another, so that of two ranks each leaves half of the
/// parameters without a gradient; a third part gets none at all.
struct Halves {
  explicit Halves(const LanguageModel::Options& options) : first(options), second(options) {}

  LanguageModel first, second;
  Parameter unused{{256, 64}, Init::ones()};

  template <class Each>
  void visit(Each&& each) {
    each("first", first);
    each("second", second);
    each("unused", unused);
  }
};

Variable loss_of(const LanguageModel& model, const Pass& pass, const DataSet& data, Rows rows, double tokens) {
  const Batch batch = data.training_batch(rows);
  const Shape shape{batch.rows, data.block_size()};
  return model.loss(pass.input(Tensor::from(batch.ids, shape)), Tensor::from(batch.targets, shape), tokens);
}

Course train_halves(const Setting& setting, Communicator& ranks, int64_t iterations) {
  const Config& config = setting.config;
  const DataSet data = DataSet::open({.source = config.data,
                                      .block_size = config.block_size,
                                      .batch_size = config.batch_size,
                                      .rank = ranks.rank(),
                                      .world = ranks.world()});
  Halves model(model_options(config, data.vocab_size()));
  const ParameterArena arena(model, {.parts = ranks.world()});
  GradientReducer reducer(arena, ranks, {});
  const Optimizer optimizer(arena, AdamW::Options{}, step_policy(config));
  Course course;
  for (int64_t i = 0; i < iterations; ++i) {
    const Rows rows = data.micro_batches(i).front();
    const int64_t middle = i * config.batch_size + config.batch_size / 2;
    const Rows lower{rows.begin, std::min(rows.end, middle)}, upper{std::max(rows.begin, middle), rows.end};
    const Pass pass = Pass::recording({.iteration = i, .first_sample = rows.begin});
    const double tokens = data.counted_tokens(i);
    Variable loss;
    if (lower.count() > 0) loss = loss_of(model.first, pass, data, lower, tokens);
    if (upper.count() > 0) {
      const Variable rest = loss_of(model.second, pass, data, upper, tokens);
      loss = lower.count() > 0 ? ops::add(loss, rest) : rest;
    }
    reducer.begin_window();
    reducer.listen(pass);
    backward(loss, 1);
    reducer.finish_window();
    optimizer.scan();
    optimizer.decide();
    optimizer.update();
    course.losses.push_back(sum_over_ranks(loss.value().item(), ranks));
    course.skipped.push_back(optimizer.control().read().apply == 0);
  }
  take_parameters(arena, arena.weights(), course);
  return course;
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    norm += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

/// A line of the table; whether all bounds were kept. Losses that are not finite come from skipped iterations.
bool compare(const Setting& setting, const Course& several, const Course& one, const Communicator& ranks) {
  double loss = 0;
  for (size_t i = 0; i < one.losses.size(); ++i) {
    if (std::isfinite(one.losses[i]) || std::isfinite(several.losses[i]))
      loss = std::max(loss, std::abs(several.losses[i] / one.losses[i] - 1));
  }
  double worst = 0;
  std::string name;
  for (size_t i = 0; i < one.parameters.size(); ++i) {
    const double difference = relative_difference(several.parameters[i].second, one.parameters[i].second);
    if (!(difference > worst)) continue;
    worst = difference;
    name = one.parameters[i].first;
  }
  const bool skips = several.skipped == one.skipped && several.skips_change_nothing && one.skips_change_nothing;
  const bool good = loss <= setting.loss_bound && worst <= setting.parameter_bound && skips;
  fmt::print("| {} | {} | {} | {:.1e} | {:.0e} | {:.1e} ({}) | {:.0e} | {} |{}\n", setting.name, ranks.world(),
             one.losses.size(), loss, setting.loss_bound, worst, name, setting.parameter_bound,
             skips ? std::to_string(std::ranges::count(one.skipped, true)) : "differ", good ? "" : " **too far**");
  std::fflush(stdout);
  return good;
}

Config nano(const std::string& text, int64_t iterations) {
  Config config;
  config.data = text;
  config.device = "cpu";
  config.n_layer = 4;
  config.n_head = 4;
  config.n_embd = 128;
  config.block_size = 64;
  config.batch_size = 12;
  config.dropout = 0.1;
  config.max_iters = iterations;
  config.warmup_iters = 100;
  config.learning_rate = 1e-3;
  config.beta2 = 0.99;
  return config;
}

std::vector<Setting> settings(const std::string& text, int64_t iterations) {
  const auto made = [&](const std::string& name, const std::function<void(Setting&)>& change) {
    Setting setting{.name = name, .config = nano(text, iterations)};
    change(setting);
    return setting;
  };
  const auto in_16_bit = [=](DType dtype, int64_t zero) {
    return [=](Setting& s) {
      s.config.dtype = dtype;
      s.config.zero = zero;
      s.loss_bound = dtype == DType::f16 ? 5e-4 : 2e-3;
      s.parameter_bound = dtype == DType::f16 ? 1e-2 : 3e-2;
      s.spoilt_iteration = iterations / 2;
    };
  };
  return {made("float32", [](Setting&) {}),
          made("accumulation of 4", [](Setting& s) { s.config.gradient_accumulation_steps = 4; }),
          made("uneven batches: 3 of 5 rows",
               [](Setting& s) { s.config.batch_size = 5, s.config.gradient_accumulation_steps = 3; }),
          made("zero = 1", [](Setting& s) { s.config.zero = 1; }),
          made("zero = 1, an infinity on one rank",
               [=](Setting& s) { s.config.zero = 1, s.spoilt_iteration = iterations / 2; }),
          made("float16, an infinity on one rank", in_16_bit(DType::f16, 0)),
          made("float16, zero = 1, an infinity on one rank", in_16_bit(DType::f16, 1)),
          made("bfloat16, an infinity on one rank", in_16_bit(DType::bf16, 0)),
          made("bfloat16, zero = 1, an infinity on one rank", in_16_bit(DType::bf16, 1))};
}

using Training = Course (*)(const Setting& setting, Communicator& ranks, int64_t iterations);

/// Rank 0 also trains alone. Collective; true everywhere where the bounds were kept.
bool same_on_one_rank(const Setting& setting, Training training, Communicator& ranks, int64_t iterations) {
  const Course several = training(setting, ranks, iterations);
  bool agreed = true;
  for (const bool skipped : several.skipped) {
    const double count = sum_over_ranks(skipped ? 1 : 0, ranks);
    agreed &= count == 0 || count == ranks.world();
  }
  bool good = agreed;
  if (ranks.rank() == 0) {
    if (!agreed) fmt::print("{}: the ranks skipped different iterations\n", setting.name);
    const std::unique_ptr<Communicator> alone = single_communicator();
    good &= compare(setting, several, training(setting, *alone, iterations), ranks);
  }
  return sum_over_ranks(good ? 0 : 1, ranks) == 0;
}

int run(std::span<const std::string> words) {
  expect(words.size() == 2,
         "rank_parity wants the number of iterations and a text: mpirun -n 2 rank_parity 200 input.txt");
  const int64_t iterations = std::stoll(words[0]);
  set_threads(1);
  const std::unique_ptr<Communicator> ranks = open_communicator(Device::cpu());
  if (ranks->rank() == 0) {
    fmt::print(
        "| setting | ranks | iterations | losses differ by | bound | parameters by | bound | skipped |\n"
        "|---|---|---|---|---|---|---|---|\n");
  }
  bool good = true;
  for (const Setting& setting : settings(words[1], iterations))
    good &= same_on_one_rank(setting, train, *ranks, iterations);
  Setting unused{.name = "unused parameters, other ones on each rank", .config = nano(words[1], iterations)};
  unused.config.dropout = 0;  // its randomness would count the rows of each half from the beginning of the batch
  good &= same_on_one_rank(unused, train_halves, *ranks, iterations);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  return tessera::exit_code_of(tessera::run, words);
}
