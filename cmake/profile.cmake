# What the daemon does at work, as scripts/profile counted it: Clang lays out for speed what runs
# often, and the rest out of its way. Of a function that was changed since, the counts are not used.
# docs/decisions/029-the-compiler-knows-what-runs-often.md
option(DORMOUSE_USE_PROFILE "Optimise a release by cmake/profile.tar.xz" ON)
set(profile_options "")
if(DORMOUSE_USE_PROFILE AND CMAKE_BUILD_TYPE STREQUAL "Release")
  set(packed ${PROJECT_SOURCE_DIR}/cmake/profile.tar.xz)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${packed})
  file(SHA256 ${packed} digest)
  string(SUBSTRING ${digest} 0 16 digest)
  # Another profile is another option, with which everything is built anew.
  set(folder ${PROJECT_BINARY_DIR}/profile-${digest})
  file(ARCHIVE_EXTRACT INPUT ${packed} DESTINATION ${folder})
  set(profile_options -fprofile-use=${folder}/dormouse.profdata
      -Wno-profile-instr-out-of-date -Wno-profile-instr-unprofiled -Wno-backend-plugin)
endif()
