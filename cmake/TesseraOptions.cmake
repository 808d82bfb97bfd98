# Compile flags of this tree, in one interface target that everything in it links. Users of the package do not get them.
add_library(tessera_flags INTERFACE)
target_compile_options(tessera_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wmissing-field-initializers -Wno-unknown-pragmas -Wno-restrict>
  # Loops vectorise without these two C guarantees; NaN and infinity keep their meaning (never -ffast-math).
  $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno -fno-trapping-math>)
if(TESSERA_NATIVE)
  target_compile_options(tessera_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
endif()
if(TESSERA_SANITIZE)
  target_compile_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE} -fno-sanitize-recover=all
                                                 -fno-omit-frame-pointer
                                                 # Instrumented code confuses this warning's flow analysis.
                                                 -Wno-maybe-uninitialized)
  target_compile_definitions(tessera_flags INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE})
endif()
