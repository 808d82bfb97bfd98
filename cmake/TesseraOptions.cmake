# Compile flags, in one interface target that everything in this tree links.
add_library(tessera_flags INTERFACE)
target_compile_options(tessera_flags INTERFACE
  -Wall -Wextra -Werror -Wmissing-field-initializers -Wno-unknown-pragmas
  # Loops vectorise without these two C guarantees; NaN and infinity keep their meaning (never -ffast-math).
  -fno-math-errno -fno-trapping-math)
if(TESSERA_NATIVE)
  target_compile_options(tessera_flags INTERFACE -march=native)
endif()
if(TESSERA_SANITIZE)
  target_compile_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(tessera_flags INTERFACE -fsanitize=${TESSERA_SANITIZE})
endif()
