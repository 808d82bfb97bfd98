// Attention over several devices. Every (sample, key head) is independent of the others, so device d of n computes an
// equal run of them; a run is cut into at most three rectangles of samples × heads. The steps are recorded in an order
// in which no device waits for the work of another, forward or backward: all copies out, all attention, the caller's
// device last, all copies back.
#include "framework/ops.h"

namespace tessera::ops {
namespace {

/// Samples [b0, b1) and key heads [h0, h1) on one device.
struct Piece {
  Device device;
  int64_t b0, b1, h0, h1;
};

std::vector<Piece> pieces_of_run(Device device, int64_t begin, int64_t end, int64_t heads) {
  std::vector<Piece> pieces;
  while (begin < end) {
    const int64_t b = begin / heads, h = begin % heads;
    const int64_t rows = h == 0 ? (end - begin) / heads : 0;
    if (rows > 0) pieces.push_back({device, b, b + rows, 0, heads});
    else pieces.push_back({device, b, b + 1, h, std::min(heads, h + end - begin)});
    const Piece& piece = pieces.back();
    begin += (piece.b1 - piece.b0) * (piece.h1 - piece.h0);
  }
  return pieces;
}

std::vector<Piece> pieces_of(std::span<const Device> devices, int64_t batch, int64_t heads) {
  std::vector<Piece> pieces;
  const auto count = static_cast<int64_t>(devices.size());
  for (int64_t d = 0; d < count; ++d) {
    const auto border = [&](int64_t i) { return batch * heads * i / count; };
    for (const Piece& piece : pieces_of_run(devices[static_cast<size_t>(d)], border(d), border(d + 1), heads)) {
      pieces.push_back(piece);
    }
  }
  return pieces;
}

Variable part(const Variable& x, const Piece& piece, int64_t group) {
  const Variable rows = slice(x, 0, piece.b0, piece.b1);
  return to_device(slice(rows, 2, piece.h0 * group, piece.h1 * group), piece.device);
}

// The part of a tensor whose axis `axis` counts samples or heads, unless it is broadcast along it.
Tensor part(const Tensor& x, int axis, int64_t begin, int64_t end) {
  return !x.defined() || x.dim(axis) == 1 ? x : x.slice(axis, begin, end);
}

FlashAttentionOptions options_of(const FlashAttentionOptions& whole, const Piece& piece, int64_t group) {
  FlashAttentionOptions options = whole;
  const int64_t head = piece.h0 * group, head_end = piece.h1 * group;
  options.first_sample += piece.b0;
  options.first_head += head;
  options.mask = part(whole.mask, 0, piece.b0, piece.b1);
  if (options.mask.defined() && options.mask.rank() == 4) options.mask = part(options.mask, 1, head, head_end);
  options.q_segments = part(whole.q_segments, 0, piece.b0, piece.b1);
  options.k_segments = part(whole.k_segments, 0, piece.b0, piece.b1);
  if (whole.alibi_slopes.defined()) options.alibi_slopes = whole.alibi_slopes.slice(0, head, head_end);
  for (Tensor* tensor : {&options.mask, &options.q_segments, &options.k_segments, &options.alibi_slopes}) {
    if (tensor->defined()) *tensor = tensor->to(piece.device);
  }
  return options;
}

// Pieces come in the order of samples, then heads.
Variable joined(std::span<const Variable> results, std::span<const Piece> pieces, int64_t heads) {
  std::vector<Variable> rows, row;
  for (size_t i = 0; i < pieces.size(); ++i) {
    row.push_back(results[i]);
    if (pieces[i].h1 < heads) continue;
    rows.push_back(row.size() == 1 ? row.front() : concat(row, 2));
    row.clear();
  }
  return rows.size() == 1 ? rows.front() : concat(rows, 0);
}

}  // namespace

Variable flash_attention(const Variable& q, const Variable& k, const Variable& v, const FlashAttentionOptions& options,
                         std::span<const Device> devices) {
  const bool splits = devices.size() > 1 && q.rank() == 4 && k.rank() == 4 && v.shape() == k.shape() &&
                      q.dim(0) == k.dim(0) && k.dim(2) > 0 && q.dim(2) % k.dim(2) == 0 && q.dim(0) * k.dim(2) > 1;
  if (!splits) return flash_attention(q, k, v, options);  // which also says what does not fit
  const int64_t heads = k.dim(2), group = q.dim(2) / heads;
  const std::vector<Piece> pieces = pieces_of(devices, q.dim(0), heads);
  struct Inputs {
    Variable q, k, v;
    FlashAttentionOptions options;
  };
  std::vector<Inputs> inputs;
  for (const Piece& piece : pieces) {
    inputs.push_back({part(q, piece, group), part(k, piece, 1), part(v, piece, 1), options_of(options, piece, group)});
  }
  std::vector<Variable> results(pieces.size());
  for (const bool at_home : {false, true}) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if ((pieces[i].device == q.device()) != at_home) continue;
      results[i] = flash_attention(inputs[i].q, inputs[i].k, inputs[i].v, inputs[i].options);
    }
  }
  for (Variable& result : results) result = to_device(result, q.device());
  return joined(results, pieces, heads);
}

}  // namespace tessera::ops
