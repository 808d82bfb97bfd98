#include <cstdlib>
#include <string>

#include "kernels/common/error.h"
#include "kernels/simt/policy.h"

namespace tessera::simt {
namespace {

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "lazy" : text;
}

Streams streams_of_environment() {
  const std::string name = variable("TESSERA_SIMT_STREAMS");
  expect(name == "eager" || name == "lazy", "TESSERA_SIMT_STREAMS: '{}' is neither eager nor lazy", name);
  return name == "eager" ? Streams::eager : Streams::lazy;
}

Policy policy_of_environment() {
  Policy policy{.streams = streams_of_environment()};
  const std::string name = variable("TESSERA_SIMT_DELIVERY");
  if (name == "eager") {
    policy.delivery = Delivery::eager;
  } else if (name == "newest-first") {
    policy.delivery = Delivery::newest_first;
  } else if (name.starts_with("random:")) {
    policy.delivery = Delivery::random;
    policy.seed = static_cast<uint32_t>(std::atoi(name.c_str() + 7));
  } else {
    expect(name == "lazy", "TESSERA_SIMT_DELIVERY: '{}' is none of eager, lazy, newest-first, random:SEED", name);
  }
  return policy;
}

}  // namespace

Policy& policy() {
  static Policy policy = policy_of_environment();
  return policy;
}

}  // namespace tessera::simt
