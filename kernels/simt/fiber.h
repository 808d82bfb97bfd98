// Contexts of execution on stacks of their own: the threads of a block. Fibers are numbered from 0 in every OS thread
// and never leave it.
#pragma once

namespace tessera::simt {

/// A context that will run `main` on the stack of `fiber`; whatever ran there before is abandoned. `main` must not
/// return.
void* new_context(int fiber, void (*main)());

/// Goes to `to` on the stack of `fiber` (-1: the stack that the OS thread came with); `*saved` becomes the context
/// left.
void jump(void* to, void** saved, int fiber);

}  // namespace tessera::simt
