#include "framework/distributed/agreement.h"

namespace tessera {

double sum_over_ranks(double value, Communicator& ranks) {
  if (ranks.world() == 1) return value;
  const Tensor sum = Tensor::full({1}, value, DType::f64);
  ranks.all_reduce(sum);
  return sum.item();
}

std::optional<int> first_rank_where(bool condition, Communicator& ranks) {
  const Tensor first = Tensor::from(std::vector<int32_t>{condition ? ranks.rank() : ranks.world()}, {1});
  ranks.all_reduce(first, Communicator::Reduction::min);
  const int rank = first.data<int32_t>()[0];
  return rank < ranks.world() ? std::optional(rank) : std::nullopt;
}

std::string broadcast_text(const std::string& text, int root, Communicator& ranks) {
  const Tensor size = Tensor::from(std::vector<int64_t>{std::ssize(text)}, {1});
  ranks.broadcast(size, root);
  std::vector<uint8_t> bytes(text.begin(), text.end());
  bytes.resize(static_cast<size_t>(size.data<int64_t>()[0]));
  if (bytes.empty()) return {};
  const Tensor content = Tensor::from(bytes, {std::ssize(bytes)});
  ranks.broadcast(content, root);
  bytes = content.to_vector<uint8_t>();
  return {bytes.begin(), bytes.end()};
}

void on_rank_0(const std::function<void()>& work, Communicator& ranks) {
  if (ranks.rank() > 0) {
    const std::string failure = broadcast_text({}, 0, ranks);
    if (!failure.empty()) throw FailedElsewhere(failure);
    return;
  }
  try {
    work();
  } catch (const std::exception& error) {
    broadcast_text(error.what(), 0, ranks);
    throw;
  }
  broadcast_text({}, 0, ranks);
}

}  // namespace tessera
