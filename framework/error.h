// Error, fail and expect, for the layers that speak to the framework and not to the kernels.
#pragma once

#include "kernels/common/error.h"  // IWYU pragma: export
