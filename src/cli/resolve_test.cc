#include "cli/resolve.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

const sandbox::NvidiaDevices one_card{
    .cards = {"/dev/nvidia0"},
    .has_unified_memory = true,
    .all = {"/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"},
};

struct Root {
  Root() { fs::create_directories(path / "opt/cuda"); }
  ~Root() { fs::remove_all(path); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  const fs::path path =
      fs::temp_directory_path() / ("dormouse-resolve-test-" + std::to_string(getpid()));
};

TEST(RuntimeOnCards, IsThereWithACardAndWhatComputesOnIt) {
  const Root root;
  EXPECT_FALSE(runtime_on_cards(root.path, one_card));
  std::ofstream(root.path / "opt/cuda/libggml-cuda.so") << "bytes";
  const auto found = runtime_on_cards(root.path, one_card);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->argv, (std::vector<std::string>{"/bin/init", "/bin/worker", "--accelerator",
                                                   "/opt/cuda/libggml-cuda.so"}));
  EXPECT_EQ(found->devices, one_card.all);
  EXPECT_TRUE(found->language_models);
  EXPECT_TRUE(found->keeps_conversations);
  // What has spoken with a driver cannot be forked.
  EXPECT_FALSE(found->forks);
  EXPECT_FALSE(found->snapshots);
  sandbox::NvidiaDevices without = one_card;
  without.has_unified_memory = false;
  EXPECT_FALSE(runtime_on_cards(root.path, without));
  EXPECT_FALSE(runtime_on_cards(root.path, {}));
}

TEST(RuntimeOnCards, LooksWhereTheBuildPutsIt) {
  std::ostringstream build;
  build << std::ifstream(RUNTIMES "/llm/CMakeLists.txt").rdbuf();
  EXPECT_TRUE(build.str().contains("=/opt/cuda/libggml-cuda.so)"));
}

}  // namespace
}  // namespace dormouse::cli
