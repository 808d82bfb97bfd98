// A library that is opened when it is first needed, and its functions by the declarations of its header.
#pragma once

#include <initializer_list>
#include <string>

namespace tessera {

class SharedLibrary {
 public:
  /// Opens the first of `names` that there is, for good. Throws with `cure` if there is none.
  SharedLibrary(std::initializer_list<const char*> names, const char* cure);

  /// The address of a symbol. Throws if the library lacks it.
  void* address(const char* symbol) const;
  /// A function, as `library.function<decltype(MPI_Barrier)>("MPI_Barrier")`.
  template <class Function>
  Function* function(const char* symbol) const {
    return reinterpret_cast<Function*>(address(symbol));
  }

 private:
  std::string name_;
  void* handle_ = nullptr;
};

}  // namespace tessera
