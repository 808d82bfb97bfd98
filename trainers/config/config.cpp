#include "trainers/config/config.h"

#include <algorithm>

#include <fmt/format.h>

#include "trainers/config/option.h"
#include "trainers/usage_error.h"

namespace tessera {
namespace {

constexpr int64_t kLargestHeadSize = 256;

template <class... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

void validate_heads(const Config& config) {
  require(config.n_embd % config.n_head == 0,
          "n_head = {} does not divide n_embd = {}; set n_embd to a multiple of n_head, such as {}", config.n_head,
          config.n_embd, (config.n_embd / config.n_head + 1) * config.n_head);
  const int64_t head_size = config.n_embd / config.n_head;
  require(head_size <= kLargestHeadSize,
          "n_embd / n_head = {} is the head size, which may be at most {}; set n_head to at least {}", head_size,
          kLargestHeadSize, (config.n_embd + kLargestHeadSize - 1) / kLargestHeadSize);
  require(config.n_head % config.effective_kv_heads() == 0,
          "kv_heads = {} does not divide n_head = {}; set kv_heads to a divisor of n_head, or to 0 for one per head",
          config.kv_heads, config.n_head);
  require(config.position != LanguageModel::Position::rotary || head_size % 2 == 0,
          "position = rotary turns pairs of channels, but n_embd / n_head = {} is odd; choose an even head size",
          head_size);
}

// Scores are divided by it in float32.
void validate_softcap(const Config& config) {
  constexpr double kSmallest = 1e-30;
  require(config.softcap == 0 || config.softcap >= kSmallest,
          "softcap = {} is too small to divide by; set it to {} or more, or to 0 for none", config.softcap, kSmallest);
}

void validate_schedule(const Config& config) {
  require(config.warmup_iters <= config.max_iters,
          "warmup_iters = {} is longer than the whole training, max_iters = {}; set warmup_iters to {} or less",
          config.warmup_iters, config.max_iters, config.max_iters);
  if (config.effective_schedule() == Schedule::Kind::constant) return;
  require(config.min_lr <= config.learning_rate,
          "min_lr = {} is above learning_rate = {}; lower min_lr, or set decay_lr = False to keep the rate constant",
          config.min_lr, config.learning_rate);
  require(config.lr_decay_iters == 0 || config.warmup_iters <= config.lr_decay_iters,
          "lr_decay_iters = {} ends before the warm-up does, warmup_iters = {}; set lr_decay_iters to 0 for max_iters",
          config.lr_decay_iters, config.warmup_iters);
}

void validate_precision(const Config& config) {
  require(config.dtype != DType::f64 || !config.device.starts_with("cuda"),
          "dtype = float64 computes on the CPU only, but device = {}; set device = cpu or another dtype",
          config.device);
  require(
      config.master_weights || (config.dtype == DType::bf16 && config.optimizer == Config::Optimizer::adamw),
      "master_weights = False rounds bfloat16 weights stochastically in AdamW; set dtype = bfloat16 and optimizer = "
      "adamw, or keep the master weights");
  require(config.min_scale <= config.init_scale && config.init_scale <= config.max_scale,
          "init_scale = {} lies outside of min_scale = {} to max_scale = {}; choose it between them", config.init_scale,
          config.min_scale, config.max_scale);
}

/// Refuses sizes whose products would not fit in 64 bits, long before any memory is asked for.
void validate_sizes(const Config& config) {
  constexpr double kMostNumbers = 0x1p48, kMostTokens = 0x1p60;
  const double batch_tokens = static_cast<double>(config.batch_size) * static_cast<double>(config.block_size);
  require(batch_tokens * static_cast<double>(config.n_embd) <= kMostNumbers,
          "batch_size * block_size * n_embd = {} * {} * {} is more than any memory holds; lower one of them",
          config.batch_size, config.block_size, config.n_embd);
  const double passes = static_cast<double>(config.max_iters) * static_cast<double>(config.gradient_accumulation_steps);
  require(
      batch_tokens * std::max(passes, static_cast<double>(config.eval_iters)) <= kMostTokens,
      "max_iters = {} steps of {} * {} sequences are more tokens than can be counted; lower max_iters or eval_iters",
      config.max_iters, config.gradient_accumulation_steps, config.batch_size);
}

}  // namespace

double Config::first_loss_scale() const {
  double scale = dynamic_loss_scale() ? init_scale : 1;
  parse_real(loss_scale, scale);
  return scale;
}

DType Config::effective_residual_dtype() const {
  if (dtype == DType::f64) return DType::f64;
  return residual_dtype == ResidualDtype::compute && dtype != DType::f16 ? dtype : DType::f32;
}

std::vector<int> Config::device_indices() const {
  std::vector<int> indices;
  if (devices == "all") return indices;
  for (size_t begin = 0; begin <= devices.size();) {
    const size_t end = std::min(devices.find(',', begin), devices.size());
    indices.push_back(std::stoi(devices.substr(begin, end - begin)));
    begin = end + 1;
  }
  return indices;
}

void validate(const Config& config) {
  validate_heads(config);
  validate_softcap(config);
  validate_sizes(config);
  validate_schedule(config);
  validate_precision(config);
}

}  // namespace tessera
