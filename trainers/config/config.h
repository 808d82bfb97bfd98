// Every setting of a run, with its default. What each one accepts and means stands in options.cpp, once; the file, the
// command line, --help, docs/config.md and the dump of a run all follow from that table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/optim/step_control.h"
#include "modules/language_model.h"

namespace tessera {

/// The settings of one run. Names and meanings are those of nanoGPT where it has them.
struct Config {
  enum class Optimizer { adamw, sgd };
  enum class ResidualDtype { float32, compute };
  enum class InitFrom { scratch, resume };
  enum class CudaGraph { automatic, off };

  // Model
  int64_t n_layer = 6;
  int64_t n_head = 6;
  int64_t kv_heads = 0;
  int64_t n_embd = 384;
  int64_t block_size = 256;
  double dropout = 0.0;
  bool bias = false;
  Norm::Kind norm = Norm::Kind::layer;
  LanguageModel::Position position = LanguageModel::Position::learned;
  FeedForward::Kind activation = FeedForward::Kind::gelu;
  bool tie_embeddings = true;
  int64_t window = 0;
  double softcap = 0.0;
  int64_t q_bucket_size = 512;
  int64_t k_bucket_size = 1024;
  bool deterministic = true;

  // Data
  std::string data;
  std::string tokenizer = "char";
  int64_t vocab_size = 0;
  int64_t batch_size = 64;
  int64_t gradient_accumulation_steps = 1;

  // Optimization
  int64_t max_iters = 5000;
  Optimizer optimizer = Optimizer::adamw;
  double learning_rate = 1e-3;
  double min_lr = 1e-4;
  bool decay_lr = true;
  Schedule::Kind schedule = Schedule::Kind::cosine;
  int64_t warmup_iters = 100;
  int64_t lr_decay_iters = 0;
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double epsilon = 1e-8;
  double momentum = 0.9;
  double grad_clip = 1.0;

  // Machine
  std::string device = "auto";
  int64_t threads = 0;
  bool tf32 = false;
  bool parallel = false;
  std::string devices = "all";
  CudaGraph cuda_graph = CudaGraph::automatic;
  bool recompute = false;
  int64_t seed = 1337;

  // Precision
  DType dtype = DType::f32;
  ResidualDtype residual_dtype = ResidualDtype::float32;
  bool master_weights = true;
  std::string loss_scale = "dynamic";
  double init_scale = 65536;
  double growth_factor = 2;
  double backoff_factor = 0.5;
  int64_t growth_interval = 2000;
  int64_t hysteresis = 1;
  double min_scale = 0;
  double max_scale = 1e38;
  int64_t max_skipped_steps = 20;
  bool autopsy = false;

  // Several ranks
  int64_t ranks = 1;
  int64_t max_restarts = 0;
  double watchdog_seconds = 300;
  int64_t zero = 0;
  double bucket_mb = 25;
  double first_bucket_mb = 1;
  DType reduce_dtype = DType::f32;

  // Run folder and reports
  std::string out_dir = "out";
  InitFrom init_from = InitFrom::scratch;
  int64_t eval_interval = 250;
  int64_t eval_iters = 200;
  int64_t log_interval = 10;
  int64_t checkpoint_interval = 0;
  int64_t keep_checkpoints = 3;
  bool tensorboard = true;

  // Sampling
  std::string start = "\n";
  int64_t num_samples = 3;
  int64_t max_new_tokens = 500;
  double temperature = 0.8;
  int64_t top_k = 200;
  double top_p = 1.0;

  /// Values that stand for another key when they are 0, resolved.
  int64_t effective_kv_heads() const { return kv_heads == 0 ? n_head : kv_heads; }
  int64_t effective_lr_decay_iters() const { return lr_decay_iters == 0 ? max_iters : lr_decay_iters; }
  int64_t effective_checkpoint_interval() const {
    return checkpoint_interval == 0 ? eval_interval : checkpoint_interval;
  }
  /// `schedule`, or constant where `decay_lr` is off.
  Schedule::Kind effective_schedule() const { return decay_lr ? schedule : Schedule::Kind::constant; }
  /// The residual stream's: float32 unless `residual_dtype = compute`; always float32 for float16, float64 for float64.
  DType effective_residual_dtype() const;
  /// True when the loss scale adapts, by itself in float16 only; otherwise it stays at `first_loss_scale()`.
  bool dynamic_loss_scale() const { return loss_scale == "dynamic" && dtype == DType::f16; }
  /// The GPUs that `devices` lists; none for "all".
  std::vector<int> device_indices() const;
  /// The loss scale of the first step: `init_scale` where it is dynamic, else the number in `loss_scale`, or 1.
  double first_loss_scale() const;
};

/// Refuses combinations that cannot run, with one sentence that names the keys and a way out.
/// Throws UsageError.
void validate(const Config& config);

}  // namespace tessera
