#include "trainers/config/options.h"

#include "trainers/config/text_checks.h"

namespace tessera {
namespace {

constexpr int64_t kMillion = 1'000'000;

OptionSection model_options() {
  using C = Config;
  return {
      "Model",
      {
          integer("n_layer", &C::n_layer, {1, 10'000}, "transformer blocks").also({"num_layers", "num_hidden_layers"}),
          integer("n_head", &C::n_head, {1, 10'000}, "attention heads; n_embd / n_head is the head size, at most 256")
              .also({"heads", "num_heads", "num_attention_heads"}),
          integer("kv_heads", &C::kv_heads, {0, 10'000},
                  "key/value heads, each shared by n_head / kv_heads query heads; 0: as many as n_head")
              .also({"n_kv_head", "num_key_value_heads"}),
          integer("n_embd", &C::n_embd, {1, kMillion}, "width of the residual stream")
              .also({"dim", "d_model", "hidden_size", "embed_dim"}),
          integer("block_size", &C::block_size, {1}, "tokens of context, the length of a training sequence")
              .also({"seq_len", "context", "context_length", "n_positions", "n_ctx", "max_seq_len"}),
          real("dropout", &C::dropout, {.low = 0, .high = 1, .open_high = true},
               "share of activations zeroed while training")
              .also({"resid_pdrop", "attn_pdrop", "embd_pdrop"}),
          flag("bias", &C::bias, "biases in the linear layers and layer norms, as in GPT-2"),
          choice<Norm::Kind>("norm", &C::norm, {{"layernorm", Norm::Kind::layer}, {"rmsnorm", Norm::Kind::rms}},
                             "normalization in front of each sublayer"),
          choice<LanguageModel::Position>(
              "position", &C::position,
              {{"learned", LanguageModel::Position::learned},
               {"rotary", LanguageModel::Position::rotary},
               {"alibi", LanguageModel::Position::alibi}},
              "how positions enter: a learned table, rotated queries and keys, or a linear bias")
              .also({"rope", "pos_emb", "position_embedding"}),
          choice<FeedForward::Kind>("activation", &C::activation,
                                    {{"gelu", FeedForward::Kind::gelu},
                                     {"gelu_tanh", FeedForward::Kind::gelu_tanh},
                                     {"swiglu", FeedForward::Kind::swiglu}},
                                    "nonlinearity of the feed-forward layers")
              .also({"hidden_act", "activation_function"}),
          flag("tie_embeddings", &C::tie_embeddings, "the output layer uses the token embedding's weights")
              .also({"tie_word_embeddings", "weight_tying"}),
          integer("window", &C::window, {0}, "tokens that a query sees back from itself, counting itself; 0: all")
              .also({"sliding_window", "window_size"}),
          real("softcap", &C::softcap, {.high = kMillion},
               "attention scores s become softcap * tanh(s / softcap); 0: off")
              .also({"logit_softcap", "attn_logit_softcapping"}),
          integer("q_bucket_size", &C::q_bucket_size, {1, kMillion}, "upper bound of the attention's query tile"),
          integer("k_bucket_size", &C::k_bucket_size, {1, kMillion}, "upper bound of the attention's key tile"),
          flag("deterministic", &C::deterministic,
               "gradients are the same bits every time; False: on a GPU attention may sum in any order, which is "
               "faster"),
      }};
}

OptionSection data_options() {
  using C = Config;
  return {
      "Data",
      {
          text("data", &C::data, "a path or a task",
               "what to learn: a text file, a glob, a folder of text files, token files, or endless samples of a task: "
               "task:copy, task:sort, task:addition or task:modular_addition, also with a size as in task:copy:16; of "
               "the files that a glob or a folder leaves out, the first six of each kind are named")
              .also({"dataset", "data_dir", "data_path", "train_data", "input"}),
          text("tokenizer", &C::tokenizer, "char | byte | sentencepiece:N with N from 300 to 1000000", is_tokenizer,
               "how text becomes tokens; sentencepiece:N trains N subword pieces on the data"),
          integer("vocab_size", &C::vocab_size, {0, 100 * kMillion},
                  "ids that the model can read and write; 0: as many as the data has")
              .also({"vocab"}),
          integer("batch_size", &C::batch_size, {1, kMillion}, "sequences per forward and backward pass")
              .also({"per_device_train_batch_size", "micro_batch_size"}),
          integer("gradient_accumulation_steps", &C::gradient_accumulation_steps, {1, kMillion},
                  "passes whose gradients are added up before the weights change")
              .also({"grad_accum", "accumulation_steps", "grad_accumulation"}),
      }};
}

OptionSection optimization_options() {
  using C = Config;
  return {"Optimization",
          {
              integer("max_iters", &C::max_iters, {1}, "training steps")
                  .also({"max_steps", "steps", "iters", "iterations", "num_steps", "train_steps"}),
              choice<C::Optimizer>("optimizer", &C::optimizer,
                                   {{"adamw", C::Optimizer::adamw}, {"sgd", C::Optimizer::sgd}}, "update rule"),
              real("learning_rate", &C::learning_rate, {.open_low = true}, "step size after the warm-up").also({"lr"}),
              real("min_lr", &C::min_lr, {}, "step size at and after lr_decay_iters").also({"min_learning_rate"}),
              flag("decay_lr", &C::decay_lr, "lower the step size over time; False: schedule = constant"),
              choice<Schedule::Kind>("schedule", &C::schedule,
                                     {{"cosine", Schedule::Kind::cosine},
                                      {"linear", Schedule::Kind::linear},
                                      {"constant", Schedule::Kind::constant}},
                                     "how the step size falls from learning_rate to min_lr")
                  .also({"lr_schedule", "lr_scheduler_type", "scheduler"}),
              integer("warmup_iters", &C::warmup_iters, {0}, "steps over which the step size rises from near 0")
                  .also({"warmup", "warmup_steps"}),
              integer("lr_decay_iters", &C::lr_decay_iters, {0}, "step at which min_lr is reached; 0: max_iters"),
              real("weight_decay", &C::weight_decay, {},
                   "decay of the matrices per step, times the step size; vectors keep theirs")
                  .also({"wd"}),
              real("beta1", &C::beta1, {.low = 0, .high = 1, .open_high = true}, "AdamW: memory of the mean gradient")
                  .also({"adam_beta1"}),
              real("beta2", &C::beta2, {.low = 0, .high = 1, .open_high = true}, "AdamW: memory of the mean square")
                  .also({"adam_beta2"}),
              real("epsilon", &C::epsilon, {.open_low = true}, "AdamW: added to the root of the mean square")
                  .also({"eps", "adam_epsilon"}),
              real("momentum", &C::momentum, {.low = 0, .high = 1, .open_high = true},
                   "SGD: share of the last update kept"),
              real("grad_clip", &C::grad_clip, {}, "largest norm of the whole gradient; 0: no clipping")
                  .also({"max_grad_norm", "clip_grad_norm", "gradient_clip"}),
          }};
}

OptionSection machine_options() {
  using C = Config;
  return {
      "Machine",
      {
          text("device", &C::device, "auto | cpu | cuda | cuda:N", is_device,
               "where to compute; auto: the first GPU if there is one, else the CPU"),
          integer("threads", &C::threads, {0, 4096}, "CPU threads; 0: every core that the process may use")
              .also({"num_threads", "cpus"}),
          flag("tf32", &C::tf32, "float32 matrix products on a GPU may round their factors to TF32, which is faster")
              .also({"allow_tf32"}),
          flag("parallel", &C::parallel, "split each attention layer over the GPUs of this process"),
          text("devices", &C::devices, "all, or GPUs such as 0,1", is_device_list, "which GPUs parallel uses"),
          choice<C::CudaGraph>("cuda_graph", &C::cuda_graph,
                               {{"auto", C::CudaGraph::automatic}, {"off", C::CudaGraph::off}},
                               "auto: steps on one GPU are recorded once and replayed, to the same bits"),
          flag("recompute", &C::recompute,
               "compute each block again in the backward pass instead of keeping it: slower, smaller")
              .also({"gradient_checkpointing", "activation_checkpointing", "checkpoint_activations"}),
          integer("seed", &C::seed, {}, "start of every random number: weights, order of the data, dropout, samples"),
      }};
}

OptionSection precision_options() {
  using C = Config;
  return {
      "Precision",
      {
          choice<DType>(
              "dtype", &C::dtype,
              {{"float32", DType::f32}, {"bfloat16", DType::bf16}, {"float16", DType::f16}, {"float64", DType::f64}},
              "what layers compute in; weights and sums stay float32 (float64 for float64)")
              .also({"precision", "fp16", "bf16", "mixed_precision", "model_dtype"}),
          choice<C::ResidualDtype>(
              "residual_dtype", &C::residual_dtype,
              {{"float32", C::ResidualDtype::float32}, {"compute", C::ResidualDtype::compute}},
              "what the stream between blocks is kept in; compute: as dtype (float16 always keeps float32)"),
          flag("master_weights", &C::master_weights,
               "keep float32 weights beside the 16-bit ones; False: bfloat16 alone, rounded stochastically"),
          text("loss_scale", &C::loss_scale, "dynamic, off or a number above 0", is_loss_scale,
               "factor on the loss that keeps float16 gradients from vanishing; dynamic: found while training, in "
               "float16 only")
              .also({"static_loss_scale"}),
          real("init_scale", &C::init_scale, {.low = kSmallestScale, .high = kLargestScale},
               "dynamic loss scale: its first value")
              .also({"initial_loss_scale", "loss_scale_init"}),
          real("growth_factor", &C::growth_factor, {.low = 1, .high = kLargestScale, .open_low = true},
               "dynamic loss scale: what it is multiplied by after growth_interval good steps"),
          real("backoff_factor", &C::backoff_factor, {.low = 0, .high = 1, .open_low = true, .open_high = true},
               "dynamic loss scale: what it is multiplied by after a step whose gradients overflowed"),
          integer("growth_interval", &C::growth_interval, {1, kMillion * 1000},
                  "dynamic loss scale: good steps in a row before it grows")
              .also({"loss_scale_window"}),
          integer("hysteresis", &C::hysteresis, {1, kMillion},
                  "dynamic loss scale: overflows before it falls; a good step starts the count again")
              .also({"loss_scale_hysteresis"}),
          real("min_scale", &C::min_scale, {.low = 0, .high = kLargestScale}, "dynamic loss scale: it falls no lower")
              .also({"min_loss_scale"}),
          real("max_scale", &C::max_scale, {.low = kSmallestScale, .high = kLargestScale},
               "dynamic loss scale: it grows no higher")
              .also({"max_loss_scale"}),
          integer("max_skipped_steps", &C::max_skipped_steps, {1},
                  "stop after this many steps in a row whose gradients were not finite")
              .also({"max_consecutive_skips"}),
          flag("autopsy", &C::autopsy,
               "examine every step that is skipped, also those by which a dynamic loss scale finds its value")
              .also({"detect_anomaly"}),
      }};
}

OptionSection rank_options() {
  using C = Config;
  return {
      "Several ranks",
      {
          integer("ranks", &C::ranks, {1, 4096},
                  "processes to start on this machine, through mpirun; under mpirun, torchrun or srun they are started "
                  "already")
              .also({"nproc_per_node", "num_processes", "world_size", "gpus"}),
          integer("max_restarts", &C::max_restarts, {0, kMillion},
                  "times that ranks started here go on from the last checkpoint after one of them failed"),
          real("watchdog_seconds", &C::watchdog_seconds, {},
               "ranks of which none moves for so long are ended with exit code 75; 0: never")
              .also({"timeout", "ddp_timeout"}),
          integer("zero", &C::zero, {0, 1},
                  "1: each rank keeps the optimizer's state and the float32 masters of its part of the weights only")
              .also({"zero_stage", "zero_optimization"}),
          real("bucket_mb", &C::bucket_mb, {.open_low = true},
               "MiB of gradients that are reduced at once, while backward computes the next ones")
              .also({"bucket_cap_mb"}),
          real("first_bucket_mb", &C::first_bucket_mb, {.open_low = true},
               "the same of the first bucket, which starts communication"),
          choice<DType>("reduce_dtype", &C::reduce_dtype, {{"float32", DType::f32}, {"bfloat16", DType::bf16}},
                        "what gradients travel in between ranks; float64 stays float64")
              .also({"grad_reduce_dtype", "fp32_allreduce"}),
      }};
}

OptionSection run_options() {
  using C = Config;
  return {
      "Run folder and reports",
      {
          text("out_dir", &C::out_dir, "a path", is_not_empty, "the run folder: config, metrics, curves, checkpoints")
              .also({"output_dir", "log_dir", "run_dir"}),
          choice<C::InitFrom>("init_from", &C::init_from,
                              {{"scratch", C::InitFrom::scratch}, {"resume", C::InitFrom::resume}},
                              "start anew, or continue from the latest checkpoint in out_dir")
              .also({"resume", "continue", "resume_from_checkpoint"}),
          integer("eval_interval", &C::eval_interval, {1}, "steps between evaluations")
              .also({"eval_steps", "eval_every"}),
          integer("eval_iters", &C::eval_iters, {1}, "batches that an evaluation averages, of each split"),
          integer("log_interval", &C::log_interval, {1},
                  "steps between reports; the first, the last, an evaluated and a skipped step have one too")
              .also({"logging_steps"}),
          integer("checkpoint_interval", &C::checkpoint_interval, {0}, "steps between checkpoints; 0: as eval_interval")
              .also({"save_steps", "save_interval", "ckpt_interval"}),
          integer("keep_checkpoints", &C::keep_checkpoints, {0}, "newest checkpoints to keep; 0: all")
              .also({"save_total_limit", "ckpt_keep_n"}),
          flag("tensorboard", &C::tensorboard, "write event files for TensorBoard"),
      }};
}

OptionSection sampling_options() {
  using C = Config;
  return {"Sampling",
          {
              text("start", &C::start, "a text", is_not_empty, "the prompt; FILE:path reads it from a file")
                  .also({"prompt"}),
              integer("num_samples", &C::num_samples, {1, kMillion}, "samples to draw"),
              integer("max_new_tokens", &C::max_new_tokens, {1},
                      "tokens per sample; whenever block_size tokens are in sight, only the later half of them stays, "
                      "where nanoGPT drops one and computes the others again")
                  .also({"max_tokens", "length"}),
              real("temperature", &C::temperature, {},
                   "below 1: likelier tokens, above 1: more surprise; 0: always the likeliest")
                  .also({"temp"}),
              integer("top_k", &C::top_k, {0}, "draw from the k likeliest tokens; 0: from all"),
              real("top_p", &C::top_p, {.low = 0, .high = 1, .open_low = true},
                   "draw from the fewest tokens whose probabilities reach this sum"),
          }};
}

}  // namespace

const std::vector<OptionSection>& option_sections() {
  static const std::vector<OptionSection> sections = {model_options(),   data_options(),      optimization_options(),
                                                      machine_options(), precision_options(), rank_options(),
                                                      run_options(),     sampling_options()};
  return sections;
}

const std::vector<IgnoredKey>& ignored_keys() {
  static const std::vector<IgnoredKey> keys = {
      {"compile", "nothing is compiled at run time"},
      {"backend", "the communication library follows from the device"},
      {"device_type", "device says it"},
      {"wandb_*", "metrics.jsonl and TensorBoard files are in the run folder"},
      {"eval_only", "use `tessera eval RUN`"},
      {"always_save_checkpoint", "checkpoints follow checkpoint_interval"},
  };
  return keys;
}

}  // namespace tessera
