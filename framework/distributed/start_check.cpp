#include "framework/distributed/start_check.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "framework/error.h"
#include "framework/io/mapped_file.h"

namespace tessera {
namespace {

// FNV-1a over words of eight bytes, the last one filled with zeros.
uint64_t hash_of(const void* data, int64_t bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  uint64_t hash = 14695981039346656037u ^ static_cast<uint64_t>(bytes);
  for (int64_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, begin + i, static_cast<size_t>(std::min<int64_t>(8, bytes - i)));
    hash = (hash ^ word) * 1099511628211u;
    hash ^= hash >> 32;  // or a word's high bits would never reach the low ones
  }
  return hash;
}

std::string text_of(const Facts& facts) { return nlohmann::json(facts).dump(); }

// The number on every rank, by rank.
std::vector<int64_t> gather(Communicator& ranks, int64_t number, Device device) {
  std::vector<int64_t> all(static_cast<size_t>(ranks.world()));
  all[static_cast<size_t>(ranks.rank())] = number;
  const Tensor data = Tensor::from(all, {ranks.world()}, device);
  ranks.all_gather(data);
  return data.to_vector<int64_t>();
}

}  // namespace

std::vector<std::string> gather_texts(Communicator& ranks, const std::string& text, Device device) {
  const std::vector<int64_t> sizes = gather(ranks, static_cast<int64_t>(text.size()), device);
  const auto longest = static_cast<size_t>(std::max<int64_t>(1, std::ranges::max(sizes)));
  std::vector<uint8_t> bytes(longest * static_cast<size_t>(ranks.world()));
  std::ranges::copy(text, bytes.begin() + static_cast<std::ptrdiff_t>(longest * static_cast<size_t>(ranks.rank())));
  const Tensor data = Tensor::from(bytes, {static_cast<int64_t>(bytes.size())}, device);
  ranks.all_gather(data);
  bytes = data.to_vector<uint8_t>();
  std::vector<std::string> texts;
  for (size_t rank = 0; rank < sizes.size(); ++rank) {
    const auto* begin = reinterpret_cast<const char*>(bytes.data() + longest * rank);
    texts.emplace_back(begin, static_cast<size_t>(sizes[rank]));
  }
  return texts;
}

void expect_agreement(Communicator& ranks, const Facts& facts, const std::string& cure, Device device) {
  const std::string mine = text_of(facts);
  const std::vector<int64_t> hashes =
      gather(ranks, static_cast<int64_t>(hash_of(mine.data(), static_cast<int64_t>(mine.size()))), device);
  if (std::ranges::count(hashes, hashes.front()) == ranks.world()) return;
  const std::vector<std::string> texts = gather_texts(ranks, mine, device);
  const auto first = nlohmann::json::parse(texts.front()).get<Facts>();
  for (int rank = 1; rank < ranks.world(); ++rank) {
    const auto other = nlohmann::json::parse(texts[static_cast<size_t>(rank)]).get<Facts>();
    expect(other.size() == first.size(), "rank {} compares {} facts and rank 0 {}; {}", rank, other.size(),
           first.size(), cure);
    for (size_t i = 0; i < first.size(); ++i) {
      expect(other[i] == first[i], "rank {} has {} = {} and rank 0 has {} = {}; {}", rank, other[i].first,
             other[i].second, first[i].first, first[i].second, cure);
    }
  }
}

void test_collectives(Communicator& ranks, Device device) {
  for (const int64_t size : {1, 1000, 300'000}) {  // one message, some, and those that go through shared memory
    std::vector<float> values(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i)
      values[static_cast<size_t>(i)] = static_cast<float>((ranks.rank() + 1) * (i % 11));
    const Tensor data = Tensor::from(values, {size}, device);
    ranks.all_reduce(data);
    const int64_t factor = int64_t{ranks.world()} * (ranks.world() + 1) / 2;
    const std::vector<float> sums = data.to_vector<float>();
    for (int64_t i = 0; i < size; ++i) {
      const auto expected = static_cast<float>(factor * (i % 11));
      expect(
          sums[static_cast<size_t>(i)] == expected,
          "the ranks' first all-reduce over {} gave {} instead of {} in element {} of {}; the transport does not work: "
          "for NCCL try NCCL_P2P_DISABLE=1, then NCCL_SHM_DISABLE=1",
          ranks.transport(), sums[static_cast<size_t>(i)], expected, i, size);
    }
  }
}

std::string fingerprint(const Tensor& tensor) {
  const Tensor host = tensor.to(Device::cpu()).to_contiguous();
  return fmt::format("{:016x}", hash_of(host.address(), host.numel() * size_of(host.dtype())));
}

std::string program_fingerprint() {
  const MappedFile program = MappedFile::open("/proc/self/exe");
  return fmt::format("{:016x}", hash_of(program.bytes().data(), static_cast<int64_t>(program.bytes().size())));
}

}  // namespace tessera
