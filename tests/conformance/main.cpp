// conformance [FILE]: runs every device word on device 0 and writes what came out, one line per case, to FILE or to the
// standard output. A GPU's file belongs into tests/golden/conformance_<architecture>.txt.
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>

#include "tests/conformance/conformance.h"

int main(int count, char** arguments) {
  try {
    const std::string text = tessera::conformance::text_of(tessera::conformance::run_all());
    if (count < 2) {
      std::cout << text;
      return 0;
    }
    std::ofstream file(arguments[1]);
    file << text;
    file.close();
    if (file) return 0;
    std::fprintf(stderr, "conformance: cannot write %s\n", arguments[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "conformance: %s\n", error.what());
  }
  return 1;
}
