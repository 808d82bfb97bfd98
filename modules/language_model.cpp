#include "modules/language_model.h"

#include <cmath>

#include "framework/autograd/kv_cache.h"

namespace tessera {
namespace {

// GPT-2's initialisation, 0.02 at its width of 768, keeps the size of activations at any width. Residual projections
// start smaller, so that the stream's variance does not grow with depth.
TransformerBlock::Options block_options(const LanguageModel::Options& options) {
  const double deviation = 0.02 * std::sqrt(768.0 / static_cast<double>(options.n_embd));
  const Init init = Init::normal(deviation);
  const Init output_init = Init::normal(deviation / std::sqrt(2.0 * static_cast<double>(options.n_layer)));
  return {.attention = {.dim = options.n_embd,
                        .heads = options.n_head,
                        .dim_head = options.n_embd / options.n_head,
                        .causal = true,
                        .q_bucket_size = options.q_bucket_size,
                        .k_bucket_size = options.k_bucket_size,
                        .deterministic = options.deterministic,
                        .parallel = options.parallel,
                        .devices = options.devices,
                        .bias = options.bias,
                        .kv_heads = options.kv_heads,
                        .window = options.window,
                        .softcap = options.softcap,
                        .alibi = options.position == LanguageModel::Position::alibi,
                        .rotary = options.position == LanguageModel::Position::rotary,
                        .dropout = options.dropout,
                        .output_dropout = options.dropout,
                        .init = init,
                        .output_init = output_init},
          .feed_forward = {.dim = options.n_embd,
                           .kind = options.activation,
                           .bias = options.bias,
                           .dropout = options.dropout,
                           .init = init,
                           .output_init = output_init},
          .norm = {.kind = options.norm, .dim = options.n_embd, .bias = options.bias},
          .dtype = options.dtype};
}

LanguageModel::Options checked(const LanguageModel::Options& options) {
  expect(options.vocab_size > 0 && options.n_layer > 0 && options.block_size > 0,
         "LanguageModel: vocab_size, n_layer and block_size must be positive, not {}, {} and {}", options.vocab_size,
         options.n_layer, options.block_size);
  expect(options.n_head > 0 && options.n_embd % options.n_head == 0, "LanguageModel: n_head {} must divide n_embd {}",
         options.n_head, options.n_embd);
  return options;
}

}  // namespace

LanguageModel::LanguageModel(const Options& requested)
    : options(checked(requested)),
      wte({.count = options.vocab_size, .dim = options.n_embd, .init = Init::normal(0.02)}),
      norm({.kind = options.norm, .dim = options.n_embd, .bias = options.bias}) {
  if (options.position == Position::learned) {
    wpe.emplace(Embedding::Options{.count = options.block_size, .dim = options.n_embd, .init = Init::normal(0.02)});
  }
  for (int64_t i = 0; i < options.n_layer; ++i) blocks.emplace_back(block_options(options));
  if (!options.tie_embeddings) {
    lm_head.emplace(
        Linear::Options{.in = options.n_embd, .out = options.vocab_size, .bias = false, .init = Init::normal(0.02)});
  }
}

Variable LanguageModel::operator()(const Variable& ids, const Tensor& segments) const {
  expect(ids.rank() == 2 && ids.dim(1) <= options.block_size,
         "LanguageModel: ids must be [batch, n] with n up to block_size {}, not {}", options.block_size, ids.shape());
  Variable x = embed(ids);
  for (const TransformerBlock& block : blocks) {
    const auto run = [&block, segments](const Variable& input) { return block(input, segments); };
    x = options.recompute ? ops::recompute(run, x, parameters(block)) : run(x);
  }
  if (KvCache* cache = ids.pass() ? ids.pass().options().cache : nullptr) cache->advance(ids.dim(1));
  return output_layer(norm(x, options.dtype));
}

Variable LanguageModel::embed(const Variable& ids) const {
  const KvCache* cache = ids.pass() ? ids.pass().options().cache : nullptr;
  const Variable x = wte(ids, {.positions = wpe ? Variable(wpe->weight) : Variable(),
                               .position_start = cache != nullptr ? cache->length() : 0,
                               .dtype = options.residual_dtype});
  return options.dropout > 0 ? ops::dropout(x, options.dropout, dropout_site) : x;
}

Variable LanguageModel::output_layer(const Variable& x) const {
  return lm_head ? (*lm_head)(x) : ops::linear(x, wte.weight);
}

Variable LanguageModel::loss(const Variable& ids, const Tensor& targets, double denominator) const {
  return ops::cross_entropy((*this)(ids), targets, {.denominator = denominator});
}

}  // namespace tessera
