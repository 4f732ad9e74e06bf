# module(<name> HEADERS ... [SOURCES ...] [DEPS ...] [PRIVATE_DEPS ...] [TESTS ...] [TEST_DEPS ...]
#        [PRECOMPILED <a target of precompiled_header()>])
#
# A folder under src/ is one library. DEPS are the modules and libraries its headers include,
# PRIVATE_DEPS those only its .cc files include, TEST_DEPS those only its tests include. A module
# may depend only on those added before it, so there are no cycles; tests/tidy_test.cc fails on an
# #include that these lists do not allow.
function(module name)
  cmake_parse_arguments(ARG "" "PRECOMPILED" "HEADERS;SOURCES;DEPS;PRIVATE_DEPS;TESTS;TEST_DEPS" ${ARGN})

  foreach(dep IN LISTS ARG_DEPS ARG_PRIVATE_DEPS)
    if(NOT TARGET ${dep})
      message(FATAL_ERROR "${name} depends on ${dep}, which is not below it in CMakeLists.txt")
    endif()
  endforeach()

  set(scope PUBLIC)
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_compile_options(${name} PRIVATE ${profile_options})
    target_link_libraries(${name} PRIVATE ${ARG_PRIVATE_DEPS})
  else()
    add_library(${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_sources(${name} ${scope}
    FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/src FILES ${ARG_HEADERS})
  target_link_libraries(${name} ${scope} ${ARG_DEPS})

  if(NOT ARG_PRECOMPILED)
    set(ARG_PRECOMPILED precompiled)
  endif()
  set(every_dep ${ARG_DEPS} ${ARG_PRIVATE_DEPS})
  if("asio" IN_LIST every_dep AND ARG_SOURCES)
    target_precompile_headers(${name} REUSE_FROM ${ARG_PRECOMPILED})
  endif()
  if(ARG_TESTS)
    # Objects like a library's, so that they can share its precompiled header.
    add_library(${name}_test_objects OBJECT ${ARG_TESTS})
    target_link_libraries(${name}_test_objects PRIVATE
      ${name} ${ARG_PRIVATE_DEPS} ${ARG_TEST_DEPS} GTest::gtest)
    quick_to_build(${name}_test_objects)
    if("asio" IN_LIST every_dep)
      target_precompile_headers(${name}_test_objects REUSE_FROM precompiled_for_tests)
    endif()
    add_executable(${name}_test)
    target_link_libraries(${name}_test PRIVATE
      ${name}_test_objects ${name} ${ARG_PRIVATE_DEPS} ${ARG_TEST_DEPS} GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name}_test)
  endif()

  list(JOIN ARG_DEPS " " deps)
  list(JOIN ARG_PRIVATE_DEPS " " private_deps)
  list(JOIN ARG_TEST_DEPS " " test_deps)
  file(APPEND ${PROJECT_BINARY_DIR}/modules.txt "${name}: ${deps} | ${private_deps} | ${test_deps}\n")
endfunction()

# Test code is compiled as it stands: optimising it takes half of a build, and what it tests is
# optimised, or watched for undefined behaviour, on its own.
set(test_options -O0 -U_FORTIFY_SOURCE)
if(DORMOUSE_SANITIZE STREQUAL "address")
  list(APPEND test_options -fno-sanitize=undefined)
endif()
if(DORMOUSE_FUZZ)
  list(APPEND test_options -fno-sanitize=fuzzer-no-link)
endif()
function(quick_to_build)
  foreach(target IN LISTS ARGN)
    target_compile_options(${target} PRIVATE ${test_options})
  endforeach()
endfunction()

# Asio's coroutines take most of the compile time of a file that awaits: one precompiled header for
# all of them, and the same one for their tests, which are compiled with other options; with what
# only some include where those are many.
function(precompiled_header target)
  file(WRITE ${PROJECT_BINARY_DIR}/${target}.cc "")
  add_library(${target} OBJECT ${PROJECT_BINARY_DIR}/${target}.cc)
  target_link_libraries(${target} PRIVATE ${ARGN})
  target_precompile_headers(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/precompiled.h)
endfunction()
precompiled_header(precompiled asio)
precompiled_header(precompiled_for_cli asio json arguments)
target_compile_options(precompiled PRIVATE ${profile_options})
target_compile_options(precompiled_for_cli PRIVATE ${profile_options})
set_target_properties(precompiled_for_cli PROPERTIES EXCLUDE_FROM_ALL ON)  # Built with cli.
target_compile_definitions(precompiled_for_cli PRIVATE PRECOMPILED_FOR_CLI)
precompiled_header(precompiled_for_tests asio json GTest::gtest)
target_compile_definitions(precompiled_for_tests PRIVATE PRECOMPILED_FOR_TESTS)
quick_to_build(precompiled_for_tests)

# fuzzer(<name> SOURCE <file> DEPS ... CORPUS <folder>): a libFuzzer target, built and run by
# scripts/fuzz.
function(fuzzer name)
  cmake_parse_arguments(ARG "" "SOURCE;CORPUS" "DEPS" ${ARGN})
  if(NOT DORMOUSE_FUZZ)
    return()
  endif()
  add_executable(fuzz_${name} EXCLUDE_FROM_ALL ${ARG_SOURCE})
  add_dependencies(fuzzers fuzz_${name})
  target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(fuzz_${name} PRIVATE ${ARG_DEPS})
  file(APPEND ${PROJECT_BINARY_DIR}/fuzzers.txt
    "fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_CORPUS} ${CMAKE_CURRENT_BINARY_DIR}\n")
endfunction()
if(DORMOUSE_FUZZ)
  add_custom_target(fuzzers)
  file(WRITE ${PROJECT_BINARY_DIR}/fuzzers.txt "")
endif()
