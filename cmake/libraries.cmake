# Every library we build on, once. Each has a line in docs/dependencies.md. The names `asio`,
# `json`, `yaml`, `sqlite`, `openssl`, `log`, `metrics`, `arguments`, `seccomp`,
# `archive`, `allocator` are what modules list in DEPS.
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(OpenSSL 3 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED COMPONENTS core)
find_package(mimalloc 2 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.40)
pkg_check_modules(ARCHIVE REQUIRED IMPORTED_TARGET libarchive>=3.6)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)

function(external name)
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE ${ARGN})
endfunction()

external(asio Boost::headers Threads::Threads)
# Asio keeps freed blocks for the next of their kind, and looks through them each time; a larger one
# than it keeps drives one of them out. mimalloc does that better.
target_compile_definitions(asio INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_VISIBILITY
  BOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=0)
external(json Boost::json)
external(openssl OpenSSL::Crypto)
external(yaml yaml-cpp)
external(sqlite PkgConfig::SQLITE)
external(archive PkgConfig::ARCHIVE)
external(seccomp PkgConfig::SECCOMP)
external(log spdlog::spdlog)
external(metrics prometheus-cpp::core)
external(arguments CLI11::CLI11)
external(allocator mimalloc)
