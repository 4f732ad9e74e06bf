#include "runtimes/llm/library.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <llama.h>
#include <log.h>

#include <cstdio>
#include <filesystem>
#include <string_view>

#include "base/check.h"

namespace dormouse::llm {
namespace {

std::string& complaint() {
  static std::string line;  // The callback is a C function, and llama.cpp has but one.
  return line;
}

void listen(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR || !complaint().empty()) return;
  complaint() = text;
  while (complaint().ends_with('\n')) complaint().pop_back();
}

// The reason is the last that is printed. By itself llama.cpp would start a debugger then, in a
// fork of all this memory, and print where it was.
void give_up(const char* why) {
  std::string_view what = why;  // "/…/llama-model.cpp:1260: GGML_ASSERT(…) failed"
  what.remove_prefix(what.substr(0, what.find(": ")).rfind('/') + 1);
  std::fprintf(stderr, "llama.cpp gave up: %.*s\n", static_cast<int>(what.size()), what.data());
}

std::string names_of(enum ggml_backend_dev_type type) {
  std::string all;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    const ggml_backend_dev_t device = ggml_backend_dev_get(i);
    if (ggml_backend_dev_type(device) != type) continue;
    all += (all.empty() ? "" : ", ") + std::string(ggml_backend_dev_description(device));
  }
  return all;
}

Result<> open_accelerator(const std::string& path) {
  last_complaint();
  const bool is_loaded = ggml_backend_load(path.c_str()) != nullptr;
  const std::string why = last_complaint();
  if (!is_loaded) return Error{Code::unavailable, why.empty() ? path + " cannot be loaded" : why};
  if (!accelerators().empty()) return ok;
  return Error{Code::unavailable, path + " finds no device" + (why.empty() ? "" : ": " + why)};
}

}  // namespace

// As llama.cpp takes them.
std::string accelerators() {
  const std::string cards = names_of(GGML_BACKEND_DEVICE_TYPE_GPU);
  return cards.empty() ? names_of(GGML_BACKEND_DEVICE_TYPE_IGPU) : cards;
}

Result<> open_library(const std::string& accelerator) {
  llama_log_set(listen, nullptr);
  ggml_set_abort_callback(give_up);
  common_log_set_verbosity_thold(-1);  // Its first line would start a thread.
  Dl_info where{};
  if (dladdr(reinterpret_cast<void*>(&ggml_backend_load_all_from_path), &where) == 0) {
    return Error{Code::unavailable, "llama.cpp is not where it was loaded from"};
  }
  const std::string folder = std::filesystem::path(where.dli_fname).parent_path();
  ggml_backend_load_all_from_path(folder.c_str());
  if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
    return Error{Code::unavailable, "llama.cpp has no back end for this processor"};
  }
  if (!accelerator.empty()) {
    if (auto opened = open_accelerator(accelerator); !opened) return opened;
  }
  llama_backend_init();
  return ok;
}

void* address_in_backend(const char* name) {
  const ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  const ggml_backend_reg_t backend = ggml_backend_dev_backend_reg(device);
  Dl_info where{};
  CHECK(dladdr(ggml_backend_reg_get_proc_address(backend, "ggml_threadpool_new"), &where) != 0);
  void* const loaded = dlopen(where.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  CHECK(loaded != nullptr);
  void* const found = dlsym(loaded, name);
  dlclose(loaded);  // It stays for who loaded it.
  CHECK(found != nullptr);
  return found;
}

std::string library_version() {
  return llama_version();
}

std::string last_complaint() {
  return std::exchange(complaint(), {});
}

}  // namespace dormouse::llm
