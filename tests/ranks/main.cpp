// Every rank runs every test in the same order, on the device of tests/support/devices.h: the emulated one in the SIMT
// flavour. Rank 0 prints the results; the others print what fails there.
#include <memory>

#include <gtest/gtest.h>

#include "tests/ranks/ranks.h"
#include "tests/support/devices.h"

namespace tessera {
namespace {

std::unique_ptr<Communicator> communicator;

class FailuresOfRank final : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed()) {
      std::fprintf(stderr, "rank %d: %s:%d: %s\n", communicator->rank(), result.file_name(), result.line_number(),
                   result.message());
    }
  }
};

}  // namespace

Communicator& ranks() { return *communicator; }

}  // namespace tessera

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  tessera::communicator = tessera::open_communicator(tessera::test_device());
  if (tessera::ranks().rank() > 0) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new tessera::FailuresOfRank);
  }
  const int status = RUN_ALL_TESTS();
  tessera::communicator.reset();
  return status;
}
