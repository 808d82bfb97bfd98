# `cmake --install`: headers under include/tessera with the paths they have in the tree, the library, the program, and a
# package file, so that a program elsewhere needs two lines: find_package(tessera) and tessera::tessera.
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tessera")

install(DIRECTORY ${layers} DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/tessera" FILES_MATCHING PATTERN "*.h")
install(FILES tessera.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/tessera")
install(TARGETS tessera EXPORT tesseraTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS tessera_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(EXPORT tesseraTargets NAMESPACE tessera:: DESTINATION "${package_dir}")

configure_package_config_file(cmake/tesseraConfig.cmake.in "${PROJECT_BINARY_DIR}/tesseraConfig.cmake"
                              INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/tesseraConfig.cmake" "${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake"
              cmake/TesseraDependencies.cmake DESTINATION "${package_dir}")
