#include "framework/data/token_source.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/common/error.h"
#include "kernels/common/parallel.h"
#include "kernels/common/philox.h"

namespace tessera {
namespace {

int64_t count(const TokenSource::Ids& ids) {
  return std::visit([](auto span) { return static_cast<int64_t>(span.size()); }, ids);
}

/// Largest id and hash of a few ids. Four independent sums keep the multiplier busy; their order is part of the result.
template <class Id>
TokenSurvey survey_chunk(std::span<const Id> ids, int64_t position) {
  TokenSurvey found;
  uint64_t sums[4] = {};
  size_t i = 0;
  for (; i + 4 <= ids.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) {
      sums[lane] = (sums[lane] + ids[i + lane] + 1) * 0x9E3779B97F4A7C15u;
      found.largest = std::max<uint32_t>(found.largest, ids[i + lane]);
    }
  }
  for (; i < ids.size(); ++i) {
    sums[0] = (sums[0] + ids[i] + 1) * 0xBF58476D1CE4E5B9u;
    found.largest = std::max<uint32_t>(found.largest, ids[i]);
  }
  found.fingerprint = mix(mix(mix(sums[0], sums[1]), mix(sums[2], sums[3])), static_cast<uint64_t>(position));
  return found;
}

}  // namespace

TokenSource::TokenSource(Ids ids, std::shared_ptr<const void> owner) : size_(count(ids)) {
  if (size_ > 0) segments_.push_back({.begin = 0, .ids = ids, .owner = std::move(owner)});
}

void TokenSource::append(const TokenSource& tokens) {
  for (Segment segment : tokens.segments_) {
    segment.begin += size_;
    segments_.push_back(std::move(segment));
  }
  size_ += tokens.size_;
}

TokenSource TokenSource::slice(int64_t begin, int64_t end) const {
  expect(0 <= begin && begin <= end && end <= size_, "tokens: the range {} to {} is outside of {} tokens", begin, end,
         size_);
  TokenSource result;
  for (const Segment& segment : segments_) {
    const int64_t from = std::max(begin, segment.begin), to = std::min(end, segment.begin + count(segment.ids));
    if (from >= to) continue;
    const auto cut = [&](auto ids) -> Ids {
      return ids.subspan(static_cast<size_t>(from - segment.begin), static_cast<size_t>(to - from));
    };
    result.append(TokenSource(std::visit(cut, segment.ids), segment.owner));
  }
  return result;
}

void TokenSource::copy(int64_t begin, std::span<int32_t> out) const {
  const auto wanted = static_cast<int64_t>(out.size());
  expect(0 <= begin && begin <= size_ - wanted, "tokens: {} tokens from {} are wanted, but there are {}", wanted, begin,
         size_);
  if (out.empty()) return;
  auto segment = std::upper_bound(segments_.begin(), segments_.end(), begin,
                                  [](int64_t position, const Segment& s) { return position < s.begin; });
  for (--segment; !out.empty(); ++segment) {
    std::visit(
        [&](auto ids) {
          ids = ids.subspan(static_cast<size_t>(begin - segment->begin));
          ids = ids.first(std::min(ids.size(), out.size()));
          std::transform(ids.begin(), ids.end(), out.begin(), [](auto id) { return static_cast<int32_t>(id); });
          begin += static_cast<int64_t>(ids.size());
          out = out.subspan(ids.size());
        },
        segment->ids);
  }
}

TokenSurvey TokenSource::survey(int64_t vocab_size) const {
  constexpr int64_t kChunk = 1 << 20;
  TokenSurvey whole;
  for (const Segment& segment : segments_) {
    std::visit(
        [&](auto ids) {
          const auto n = static_cast<int64_t>(ids.size());
          std::vector<TokenSurvey> chunks(static_cast<size_t>((n + kChunk - 1) / kChunk));
          parallel_chunks(n, kChunk, [&](int64_t begin, int64_t end) {
            const auto part = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
            chunks[static_cast<size_t>(begin / kChunk)] = survey_chunk(part, segment.begin + begin);
          });
          for (const TokenSurvey& chunk : chunks) {
            whole.largest = std::max(whole.largest, chunk.largest);
            whole.fingerprint = mix(whole.fingerprint, chunk.fingerprint);
          }
          if (vocab_size == 0 || whole.largest < vocab_size || whole.first_beyond >= 0) return;
          const auto beyond = std::find_if(ids.begin(), ids.end(), [&](auto id) { return id >= vocab_size; });
          whole.first_beyond = segment.begin + (beyond - ids.begin());
        },
        segment.ids);
  }
  whole.fingerprint = mix(whole.fingerprint, static_cast<uint64_t>(size_));
  return whole;
}

}  // namespace tessera
