#include <cstdlib>
#include <string>

#include "kernels/common/error.h"
#include "kernels/simt/policy.h"

namespace tessera::simt {
namespace {

Policy policy_of_environment() {
  const char* text = std::getenv("TESSERA_SIMT_DELIVERY");
  const std::string name = text == nullptr ? "lazy" : text;
  if (name == "eager") return {Delivery::eager};
  if (name == "lazy") return {Delivery::lazy};
  if (name == "newest-first") return {Delivery::newest_first};
  expect(name.starts_with("random:"), "TESSERA_SIMT_DELIVERY: '{}' is none of eager, lazy, newest-first, random:SEED",
         name);
  return {Delivery::random, static_cast<uint32_t>(std::atoi(name.c_str() + 7))};
}

}  // namespace

Policy& policy() {
  static Policy policy = policy_of_environment();
  return policy;
}

}  // namespace tessera::simt
