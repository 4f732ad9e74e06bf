// What is done once, at deploy: the model is optimised into a folder, run in both forms side by
// side, and the form to load from then on is chosen.
//
// A form is kept if its median run takes at most 1.03 times the default's. The mapped one is tried
// first: it loads many times faster and its weights are shared by all instances, but some models
// (int8) need prepacked weights to be fast. Otherwise the optimised one, if it loads faster than
// the user's own file, which it does if optimising was the larger part of loading.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "runtimes/onnx/files.h"
#include "runtimes/onnx/session.h"
#include "wire/messages.h"

namespace dormouse::onnx {

struct Preparation {
  const Folder* code = nullptr;  // Where the model is.
  std::string model;
  std::string model_digest;
  std::string out;  // The folder to write into.
  int threads = 1;
  // Looks at the session of the user's own file, before anything is measured: its Error is the
  // deploy's.
  std::function<Result<>(Session&, wire::Prepared&)> examine;
};

inline constexpr double slowdown_max = 1.03;

Result<wire::Prepared> prepare(Library&, const Preparation&);

std::string milliseconds(std::chrono::nanoseconds);

}  // namespace dormouse::onnx
