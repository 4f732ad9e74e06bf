#include "cli/bundle.h"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "cli/answers.h"
#include "cli/gguf_memory.h"
#include "cli/yaml.h"
#include "control/manifest.h"
#include "control/paths.h"

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

// A folder without a dormouse.yaml has one of these, by the names that others use, too.
constexpr std::string_view main_files[] = {"lambda_function.py", "app.py", "main.py"};

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// The beginning of it: more than any dormouse.yaml may have.
std::string text_of(const fs::path& path) {
  constexpr std::size_t bytes_max = 2 << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text(bytes_max, '\0');
  file.read(text.data(), std::ssize(text));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

bool has_suffix(const fs::path& path, std::string_view suffix) {
  return lower(path.extension().string()) == suffix;
}

// A look at the text, not an understanding of it: whoever does it otherwise writes a manifest.
std::string function_in(const std::string& text) {
  const auto defines = [&](const std::string& name) {
    const std::string begin = "def " + name + "(";
    return text.starts_with(begin) || text.contains("\n" + begin);
  };
  return !defines("handler") && defines("lambda_handler") ? "lambda_handler" : "handler";
}

Result<json::object> manifest_of_python(const fs::path& path) {
  const std::string module = path.stem().string();
  if (module.contains('.')) {
    return refused(path.filename().string() +
                   ": Python cannot import a file with dots in its name; call it app.py");
  }
  return json::object{{"runtime", "python"},
                      {"handler", module + "." + function_in(text_of(path))}};
}

std::string beginning_of(const fs::path& path) {
  char begin[4] = {};
  std::ifstream(path, std::ios::binary).read(begin, sizeof(begin));
  return {begin, sizeof(begin)};
}

// By what it begins with, whatever it is called.
bool is_gguf(const fs::path& path) {
  return has_suffix(path, ".gguf") || beginning_of(path) == "GGUF";
}

// By its name, or as a protobuf message whose first field is the first one of onnx.ModelProto.
bool is_onnx(const fs::path& path) {
  constexpr char ir_version = 0x08;
  return has_suffix(path, ".onnx") || beginning_of(path).front() == ir_version;
}

// Of files that people have of models, and that nothing here runs, and of other files.
Result<> check_format(const fs::path& path) {
  for (const char* suffix : {".safetensors", ".pt", ".pth", ".bin", ".h5", ".pb", ".tflite"}) {
    if (!has_suffix(path, suffix)) continue;
    return refused(path.string() +
                   ": a model is an ONNX or a GGUF file here; convert it (torch.onnx, "
                   "tf2onnx; llama.cpp's convert_hf_to_gguf.py)");
  }
  if (is_onnx(path)) return ok;
  return refused(path.string() +
                 " is no model (.onnx, .gguf), no Python code (.py) and no .zip; other code is "
                 "deployed as a folder with a dormouse.yaml, as `dormouse init` writes one");
}

// One that answers several people at a time, slowly. Memory: the weights once more, in the order
// that the processor likes best, what is read and said when all of it is full, and the library.
json::object manifest_of_gguf(const fs::path& path, std::uint64_t size) {
  constexpr std::uint64_t mib = 1 << 20, others_mib = 768;
  constexpr int conversations = 4;
  const std::uint64_t context_mib = (gguf_context_bytes(path, conversations) + mib - 1) / mib;
  const std::uint64_t memory_mib = size / mib * 5 / 4 + context_mib + others_mib;
  return {{"runtime", "llm"},
          {"model", path.filename().string()},
          {"memory", std::to_string(memory_mib) + "MiB"},
          {"cpu", "2"},
          {"threads", 2},
          {"concurrency", conversations},
          {"timeout", "10m"},
          {"start_timeout", "10m"}};
}

// On a card: weights and context are there, once. Here is what the driver and CUDA hold, and
// conversations that are put aside.
json::object manifest_of_gguf_on_a_card(const fs::path& path, std::uint64_t size) {
  json::object manifest = manifest_of_gguf(path, size);
  manifest["memory"] = "2GiB";
  manifest["max_instances"] = 1;
  return manifest;
}

json::object manifest_of_model(const fs::path& path, std::uint64_t size) {
  if (is_gguf(path)) return manifest_of_gguf(path, size);
  return {{"runtime", "onnx"}, {"model", path.filename().string()}};
}

Result<Bundle> bundle_of_file(const fs::path& path, const std::string& runtime) {
  Bundle bundle;
  std::error_code failure;
  const std::uint64_t size = fs::file_size(path, failure);
  if (failure) return refused(path.string() + ": " + failure.message());
  bundle.name = name_from(path);
  if (is_gguf(path)) {
    const bool on_a_card = runtime == "llm-cuda";
    bundle.manifest =
        on_a_card ? manifest_of_gguf_on_a_card(path, size) : manifest_of_gguf(path, size);
  } else if (has_suffix(path, ".py")) {
    auto manifest = manifest_of_python(path);
    if (!manifest) return manifest.error();
    bundle.manifest = std::move(*manifest);
  } else {
    if (size == 0) return refused(path.string() + " is empty");
    if (auto known = check_format(path); !known) return known.error();
    bundle.manifest = manifest_of_model(path, size);
  }
  if (!runtime.empty()) bundle.manifest["runtime"] = runtime;
  bundle.files.push_back({path.filename().string(), path, size});
  return bundle;
}

Result<json::object> read_yaml(const fs::path& path) {
  const auto manifest = parse_yaml(text_of(path));
  if (!manifest) return Error(manifest.error()).during("dormouse.yaml");
  if (!manifest->is_object()) return refused("dormouse.yaml is not a map of fields");
  return manifest->get_object();
}

std::optional<fs::path> only_model(const fs::path& folder) {
  std::optional<fs::path> found;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder, failure)) {
    const bool is_model = has_suffix(entry.path(), ".gguf") || has_suffix(entry.path(), ".onnx");
    if (!is_model || !entry.is_regular_file(failure) || is_left_out(entry.path())) continue;
    if (std::exchange(found, entry.path())) return std::nullopt;
  }
  return found;
}

// The manifest of a folder that has none.
Result<json::object> guess_manifest(const fs::path& folder) {
  std::vector<std::string> there;
  for (const std::string_view name : main_files) {
    std::error_code failure;
    if (fs::is_regular_file(fs::symlink_status(folder / name, failure))) there.emplace_back(name);
  }
  if (there.size() == 1) return manifest_of_python(folder / there.front());
  if (there.empty()) {
    if (const auto model = only_model(folder)) {
      std::error_code failure;
      return manifest_of_model(*model, fs::file_size(*model, failure));
    }
    return refused(
        "there is no dormouse.yaml at the top; put one there, as docs/reference/manifest.md has "
        "it, or one model (.onnx or .gguf), or one Python file called lambda_function.py, "
        "app.py or main.py");
  }
  return refused("there is no dormouse.yaml, but both " + there[0] + " and " + there[1] +
                 "; say in a dormouse.yaml which it is, as in handler: app.handler");
}

Result<Bundle> bundle_of_folder(const fs::path& folder, std::string name) {
  Bundle bundle;
  std::error_code failure;
  const bool has_manifest = fs::exists(folder / "dormouse.yaml", failure);
  auto manifest = has_manifest ? read_yaml(folder / "dormouse.yaml") : guess_manifest(folder);
  if (!manifest) return manifest.error();
  if (has_manifest) bundle.manifest_from = "dormouse.yaml";
  bundle.manifest = std::move(*manifest);
  bundle.name = text_at(bundle.manifest, "name");
  if (bundle.name.empty()) bundle.name = std::move(name);
  auto files = files_below(folder);
  if (!files) return files.error();
  bundle.files = std::move(*files);
  return bundle;
}

Result<Bundle> bundle_of_zip(const fs::path& zip) {
  auto folder = control::TemporaryFolder::make();
  if (!folder) return folder.error();
  if (auto done = control::unpack_zip(zip, folder->path()); !done) return done.error();
  auto bundle = bundle_of_folder(folder->path(), name_from(zip));
  if (!bundle) return std::move(bundle).error().during(zip.filename().string());
  bundle->unpacked = std::make_shared<control::TemporaryFolder>(std::move(*folder));
  return bundle;
}

Result<Bundle> bundle_of_path(const fs::path& path, bool folder, const std::string& runtime) {
  const bool zip = !folder && has_suffix(path, ".zip");
  if ((folder || zip) && !runtime.empty()) {
    return refused("--runtime is for a single file; a folder says it in its dormouse.yaml");
  }
  if (!folder) return zip ? bundle_of_zip(path) : bundle_of_file(path, runtime);
  auto bundle = bundle_of_folder(path, name_from(fs::absolute(path / "x").parent_path()));
  if (!bundle) return std::move(bundle).error().during(path.string());
  return bundle;
}

}  // namespace

std::string name_from(const fs::path& path) {
  std::string name;
  for (const char c : path.stem().string()) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain) name += c;
    if (upper) name += static_cast<char>(c | 0x20);
    if (!plain && !upper && !name.empty() && name.back() != '-') name += '-';
  }
  name.resize(std::min<std::size_t>(name.size(), 63));
  while (name.ends_with('-')) name.pop_back();
  return name;
}

Result<Bundle> bundle_of(const std::string& what, const std::string& name,
                         const std::string& runtime) {
  std::error_code failure;
  const fs::path path(what);
  const fs::file_status status = fs::status(path, failure);
  if (!fs::exists(status)) return Error{Code::not_found, "there is no file and no folder " + what};
  auto bundle = bundle_of_path(path, fs::is_directory(status), runtime);
  if (!bundle) return bundle;
  if (!name.empty()) bundle->name = name;
  bundle->manifest["name"] = bundle->name;
  if (auto good = control::read_manifest(bundle->manifest); !good) {
    return std::move(good).error().during(bundle->manifest_from);
  }
  for (const LocalFile& file : bundle->files) {
    if (auto good = control::check_path(file.path); !good) return good.error();
  }
  return bundle;
}

}  // namespace dormouse::cli
