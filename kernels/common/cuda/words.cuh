// The words that kernels are written in: one function per instruction or PTX mnemonic, the same signatures on the
// device (words_device.cuh) and on the CPU (kernels/simt/words.h). Nothing else in the tree contains assembly.
#pragma once

#ifdef TESSERA_SIMT
#include "kernels/simt/words.h"
#else
#include "kernels/common/cuda/words_device.cuh"
#endif
