// What is to be deployed, before anybody was asked: a manifest, a name and files.
//
// Made of a model, a Python file, a folder, or a zip of a folder. What is wrong is found before
// anything is hashed or sent, by the same rules as the node's.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/files.h"
#include "control/archive.h"
#include "gateway/json.h"

namespace dormouse::cli {

struct Bundle {
  json::object manifest;
  std::string manifest_from = "manifest";  // What to call it in an error.
  std::string name;
  std::vector<LocalFile> files;
  std::shared_ptr<const control::TemporaryFolder>
      unpacked;  // Where the files are, if they came in a zip.
};

// not_found if there is nothing there; otherwise the error says what to put there. `name` is
// empty, or what to call the function whatever the manifest says. `runtime` is empty or, of a
// single file, another one than its kind has.
Result<Bundle> bundle_of(const std::string& what, const std::string& name,
                         const std::string& runtime = "");

// "My Model_v2.onnx" → "my-model-v2". Empty if nothing in it can be part of a name.
std::string name_from(const std::filesystem::path&);

}  // namespace dormouse::cli
