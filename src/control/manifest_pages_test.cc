#include "control/manifest_pages.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "control/routes.h"

namespace dormouse::control {
namespace {

// The reference pages are written by the code; with DORMOUSE_WRITE_DOCS set, this test does so.
void expect_page(const char* name, const std::string& wanted) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "../../docs/reference" / name;
  if (std::getenv("DORMOUSE_WRITE_DOCS") != nullptr) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << wanted;
  }
  std::ifstream file(path);
  const std::string there((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(there, wanted) << "run this test with DORMOUSE_WRITE_DOCS=1 and commit " << path;
}

TEST(ReferencePages, SayWhatTheCodeDoes) {
  expect_page("manifest.md", manifest_page());
  expect_page("control-api.md", api_page());
}

}  // namespace
}  // namespace dormouse::control
