# Libraries. Required ones name their package when missing; optional ones say which feature is off and what brings it.
add_library(tessera_dependencies INTERFACE)

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Boost REQUIRED COMPONENTS program_options)
target_link_libraries(tessera_dependencies INTERFACE OpenMP::OpenMP_CXX fmt::fmt nlohmann_json::nlohmann_json
                                                     Boost::program_options ${CMAKE_DL_LIBS})

# oneDNN, without its own package file, which asks for OpenCL headers that nothing here needs.
find_library(DNNL_LIBRARY NAMES dnnl)
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
if(DNNL_LIBRARY AND DNNL_INCLUDE_DIR)
  target_include_directories(tessera_dependencies INTERFACE ${DNNL_INCLUDE_DIR})
  target_link_libraries(tessera_dependencies INTERFACE ${DNNL_LIBRARY})
  target_compile_definitions(tessera_dependencies INTERFACE TESSERA_WITH_DNNL=1)
else()
  message(FATAL_ERROR "tessera: no library for matrix products; install oneDNN (apt install libdnnl-dev)")
endif()

find_library(XSMM_LIBRARY NAMES libxsmm.a)
find_library(XSMM_NOBLAS_LIBRARY NAMES libxsmmnoblas.a)
find_path(XSMM_INCLUDE_DIR libxsmm.h)
if(XSMM_LIBRARY AND XSMM_NOBLAS_LIBRARY AND XSMM_INCLUDE_DIR)
  target_include_directories(tessera_dependencies INTERFACE ${XSMM_INCLUDE_DIR})
  target_link_libraries(tessera_dependencies INTERFACE ${XSMM_LIBRARY} ${XSMM_NOBLAS_LIBRARY})
  target_compile_definitions(tessera_dependencies INTERFACE TESSERA_WITH_XSMM=1)
else()
  message(STATUS "tessera: libxsmm not found; attention tiles use plain vectorised loops (apt install libxsmm-dev)")
endif()

find_package(benchmark QUIET)
