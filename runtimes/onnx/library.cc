#include "runtimes/onnx/library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "runtimes/onnx/ort.h"

namespace dormouse::onnx {
namespace {

constexpr const char* shared_object = "libonnxruntime.so.1";

// y = Identity(x), one float each: the ONNX bytes, opset 17.
constexpr std::string_view smallest_model(
    "\x08\x08"                            // ir_version 8
    "\x3a\x2f"                            // graph
    "\x0a\x10"                            //   node
    "\x0a\x01x\x12\x01y\x22\x08Identity"  //     x → y
    "\x12\x01g"                           //   name
    "\x5a\x0b\x0a\x01x"                   //   input x
    "\x12\x06\x0a\x04\x08\x01\x12\x00"    //     a float
    "\x62\x0b\x0a\x01y"                   //   output y
    "\x12\x06\x0a\x04\x08\x01\x12\x00"    //     a float
    "\x42\x02\x10\x11",                   // opset 17
    2 + 2 + 2 + 16 + 3 + 5 + 8 + 5 + 8 + 4);

class Loaded final : public OrtLibrary {
 public:
  explicit Loaded(std::string version) : version_(std::move(version)) {}

  const std::string& version() const override { return version_; }
  Duration loading_took() const override { return loading_took_; }
  Duration environment_took() const override { return environment_took_; }
  const Ort::Env& environment() const override { return environment_; }

  Result<> make_environment() {
    const Stopwatch watch;
    // What goes wrong is returned; told twice, it would fill the function's log.
    return guarded("making ONNX Runtime's environment", [&] {
      environment_ = Ort::Env(ORT_LOGGING_LEVEL_FATAL, "dormouse");
      environment_.DisableTelemetryEvents();
      warm_up();
      environment_took_ = watch.elapsed();
    });
  }

  // The first session of a process pays for tables that all later ones find made: 10 ms that a
  // worker waiting blank has behind it.
  void warm_up() {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    Ort::Session(environment_, smallest_model.data(), smallest_model.size(), options);
  }

  void set_loading_took(Duration took) { loading_took_ = took; }

 private:
  std::string version_;
  Ort::Env environment_{nullptr};
  Duration loading_took_{};
  Duration environment_took_{};
};

// Discards what is written to standard error meanwhile: without /sys and with a masked /proc, as in
// a sandbox, the library's own dependencies complain there before asking the processor itself, and
// that would stand at the top of every function's log.
class Quiet {
 public:
  Quiet() : saved_(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) return;
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
  }
  ~Quiet() {
    if (saved_ < 0) return;
    dup2(saved_, STDERR_FILENO);
    close(saved_);
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  int saved_;
};

Error not_loadable(std::string_view why) {
  return {Code::unavailable, "loading " + std::string(shared_object) + ": " + std::string(why)};
}

}  // namespace

Result<std::unique_ptr<Library>> Library::open() {
  const Stopwatch watch;
  const Quiet quiet;
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  void* const handle = dlopen(shared_object, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) return not_loadable(dlerror());
  void* const symbol = dlsym(handle, "OrtGetApiBase");
  if (symbol == nullptr) return not_loadable(dlerror());
  const OrtApiBase* const base = reinterpret_cast<decltype(&OrtGetApiBase)>(symbol)();
  const OrtApi* const api = base->GetApi(ORT_API_VERSION);
  if (api == nullptr) return not_loadable("it is older than its headers");
  Ort::InitApi(api);
  auto loaded = std::make_unique<Loaded>(base->GetVersionString());
  loaded->set_loading_took(watch.elapsed());
  const auto made = loaded->make_environment();
  if (!made) return made.error();
  return loaded;
}

}  // namespace dormouse::onnx
