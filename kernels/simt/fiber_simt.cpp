#include <cstddef>
#include <vector>

#include <boost/context/detail/fcontext.hpp>
#include <sys/mman.h>

#include "kernels/common/error.h"
#include "kernels/simt/fiber.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace tessera::simt {

namespace context = boost::context::detail;

namespace {

constexpr size_t kStackBytes = 256 << 10;

/// Stacks of this OS thread's fibers, never given back. Their tops are spread over the sets of the first-level cache.
class Stacks {
 public:
  std::byte* top(int fiber) {
    while (static_cast<int>(stacks_.size()) <= fiber) {
      void* memory =
          mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      expect(memory != MAP_FAILED, "simt: no memory for the stack of fiber {}", fiber);
      stacks_.push_back(static_cast<std::byte*>(memory));
    }
    return stacks_[fiber] + kStackBytes - (fiber % 32) * 128;
  }
  std::byte* bottom(int fiber) const { return stacks_[fiber]; }

 private:
  std::vector<std::byte*> stacks_;
};
thread_local Stacks stacks;
thread_local void (*main_of_fibers)() = nullptr;

#if defined(__SANITIZE_ADDRESS__)
// The stack of the OS thread itself, which the first fiber learns from whoever started it.
thread_local const void* launch_stack = nullptr;
thread_local size_t launch_stack_bytes = 0;
#endif

void arrived_from(void* fake_stack) {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
  if (launch_stack == nullptr) launch_stack = bottom, launch_stack_bytes = bytes;
#else
  (void)fake_stack;
#endif
}

/// The first function on a fiber's stack.
void enter(context::transfer_t from) {
  *static_cast<void**>(from.data) = from.fctx;
  arrived_from(nullptr);
  main_of_fibers();
}

}  // namespace

void* new_context(int fiber, void (*main)()) {
  std::byte* top = stacks.top(fiber);
  main_of_fibers = main;
  return context::make_fcontext(top, static_cast<size_t>(top - stacks.bottom(fiber)), enter);
}

void jump(void* to, void** saved, int fiber) {
  void* fake_stack = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  if (fiber >= 0) __sanitizer_start_switch_fiber(&fake_stack, stacks.bottom(fiber), kStackBytes);
  else __sanitizer_start_switch_fiber(&fake_stack, launch_stack, launch_stack_bytes);
#else
  (void)fiber;
#endif
  const context::transfer_t back = context::jump_fcontext(static_cast<context::fcontext_t>(to), saved);
  arrived_from(fake_stack);
  *static_cast<void**>(back.data) = back.fctx;
}

}  // namespace tessera::simt
