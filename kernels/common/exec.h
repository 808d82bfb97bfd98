// Where a kernel runs. A kernel is a struct of named arguments with one call operator per device:
//
//     struct Gelu {
//       In<1> x; Out<1> y;
//       void operator()(Cpu) const;
//       void operator()(Cuda) const;
//     };
//     launch(Gelu{.x = …, .y = …}, exec);
//
// An operator that is declared but not written is a link error on the builds that need it.
#pragma once

#include <type_traits>
#include <variant>

namespace tessera {

#ifdef TESSERA_WITH_CUDA
inline constexpr bool kHasCuda = true;
#else
inline constexpr bool kHasCuda = false;
#endif

/// Run on the calling thread and its OpenMP team; complete when the call returns.
struct Cpu {};

/// Enqueue on `stream` (a cudaStream_t) of device `device`; complete when the stream gets there.
struct Cuda {
  int device = 0;
  void* stream = nullptr;
};

using Exec = std::conditional_t<kHasCuda, std::variant<Cpu, Cuda>, std::variant<Cpu>>;

template <class Kernel>
void launch(const Kernel& kernel, const Exec& exec) {
  std::visit([&](auto where) { kernel(where); }, exec);
}

}  // namespace tessera
