#include "framework/distributed/shared_library.h"

#include <dlfcn.h>

#include "framework/error.h"

namespace tessera {

SharedLibrary::SharedLibrary(std::initializer_list<const char*> names, const char* cure) {
  std::string reason;
  for (const char* name : names) {
    name_ = name;
    handle_ = dlopen(name, RTLD_NOW | RTLD_GLOBAL);  // global: MPI's own plugins look for its symbols
    if (handle_ != nullptr) return;
    if (reason.empty()) reason = dlerror();
  }
  fail("{}; {}", reason, cure);
}

void* SharedLibrary::address(const char* symbol) const {
  void* found = dlsym(handle_, symbol);
  expect(found != nullptr, "{}: it has no {}; install the version that this program was built with", name_, symbol);
  return found;
}

}  // namespace tessera
