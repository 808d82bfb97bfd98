# Compiles the .proto files of the tree into the library, where protobuf is there. Sources include <NAME.pb.h>.
if("PROTOBUF" IN_LIST TESSERA_PARTS)
  set(protobuf_dir "${PROJECT_BINARY_DIR}/protobuf")
  file(MAKE_DIRECTORY "${protobuf_dir}")
  file(GLOB_RECURSE protocols CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/trainers/*.proto")
  foreach(protocol IN LISTS protocols)
    get_filename_component(name "${protocol}" NAME_WE)
    get_filename_component(folder "${protocol}" DIRECTORY)
    set(generated "${protobuf_dir}/${name}.pb.cc" "${protobuf_dir}/${name}.pb.h")
    add_custom_command(
      OUTPUT ${generated}
      COMMAND protobuf::protoc "--proto_path=${folder}" "--cpp_out=${protobuf_dir}" "${protocol}"
      DEPENDS "${protocol}" VERBATIM)
    set_source_files_properties(${generated} PROPERTIES COMPILE_OPTIONS "-w")
    target_sources(tessera PRIVATE ${generated})
  endforeach()
  target_include_directories(tessera SYSTEM PRIVATE "${protobuf_dir}")
endif()
