# Warnings, hardening and sanitizers: the same for every target of the project.
add_compile_options(-Wall -Wextra -Wpedantic -Werror -Wswitch-enum -Wimplicit-fallthrough -Wshadow
                    -Wnon-virtual-dtor -Wno-missing-field-initializers)
add_link_options(-fuse-ld=lld)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()

set(DORMOUSE_SANITIZE "" CACHE STRING "address, thread or empty")
if(DORMOUSE_SANITIZE STREQUAL "address")
  set(flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(DORMOUSE_SANITIZE STREQUAL "thread")
  set(flags -fsanitize=thread -fno-omit-frame-pointer)
else()
  # Hardening costs nothing measurable here and is checked by tests/hardening_test.sh.
  add_compile_definitions($<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
  add_compile_options(-fstack-protector-strong -fcf-protection=full)
  add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)
endif()
if(DORMOUSE_FUZZ)
  # Everything is instrumented, so that the fuzzers see which edges of the libraries they reach.
  list(APPEND flags -fsanitize=fuzzer-no-link)
endif()
if(flags)
  add_compile_options(${flags})
  add_link_options(${flags})
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_ctime,include_file_mtime ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")
endif()
