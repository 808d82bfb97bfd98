// A mistake in a command, a key or a value: exit code 2, where every other error exits with 1.
#pragma once

#include "framework/error.h"

namespace tessera {

/// Raised for what the user typed, on the command line or in a config file.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace tessera
