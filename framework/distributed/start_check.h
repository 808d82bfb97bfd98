// What must be the same on all ranks is compared when they start; a difference is one sentence that names it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/distributed/communicator.h"

namespace tessera {

/// Names and values, in the same order on every rank.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// The text of every rank, by rank; it travels through memory of `device`. Collective.
std::vector<std::string> gather_texts(Communicator& ranks, const std::string& text, Device device = {});

/// Throws the same Error on every rank, `rank 2 has batch_size = 16 and rank 0 has 12; …cure`, at the first fact that
/// differs. Collective.
void expect_agreement(Communicator& ranks, const Facts& facts, const std::string& cure, Device device = {});

/// All-reduces a known pattern in several sizes and throws what came out wrong. Collective.
void test_collectives(Communicator& ranks, Device device);

/// A short text that changes with any bit of the tensor.
std::string fingerprint(const Tensor& tensor);
/// The same of the running program's file.
std::string program_fingerprint();

}  // namespace tessera
