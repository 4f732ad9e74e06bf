# worker_root(<name> PROGRAM <target> [EXTRA <file>[=<path inside>] ...])
#
# Assembles the root file system of a worker in ${PROJECT_BINARY_DIR}/roots/<name>: the program as
# /bin/worker, every library it needs, the empty folders that a sandbox mounts things on, and the
# EXTRA files. An extra shared object without a path goes to the library folder, with what it
# needs; any other extra file without a path goes to /; one with a path goes there, alone. Built by the target <name>_root, which is
# part of ALL; the folder is in the target's property ROOT.
function(worker_root name)
  cmake_parse_arguments(ARG "" "PROGRAM" "EXTRA" ${ARGN})
  set(root ${PROJECT_BINARY_DIR}/roots/${name})
  set(script ${PROJECT_SOURCE_DIR}/cmake/assemble_root.sh)
  set(stamp ${PROJECT_BINARY_DIR}/roots/${name}.stamp)
  set(extra_files)
  foreach(extra IN LISTS ARG_EXTRA)
    string(REGEX REPLACE "=/.*$" "" file "${extra}")
    list(APPEND extra_files ${file})
  endforeach()
  if(DORMOUSE_SANITIZE)
    # The leak checker needs ptrace, which no sandbox allows.
    target_sources(${ARG_PROGRAM} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/sandboxed_sanitizer.cc)
  endif()
  add_custom_command(OUTPUT ${stamp}
    COMMAND ${script} ${root} $<TARGET_FILE:${ARG_PROGRAM}> ${ARG_EXTRA}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${ARG_PROGRAM} ${extra_files} ${script}
    COMMENT "Assembling the root file system of ${name}" VERBATIM)
  add_custom_target(${name}_root ALL DEPENDS ${stamp})
  set_target_properties(${name}_root PROPERTIES ROOT ${root})
endfunction()
