// What is done once, at deploy: the model is optimised into a folder, run in its forms side by
// side, and the form to load from then on is chosen.
//
// A form is kept if its median run takes at most 1.03 times the default's. The mapped one is tried
// first: its weights are not even read to load it, but some models (int8) need packed weights to be
// fast. Those load from what was packed at deploy, four times faster than the user's own file: ONNX
// Runtime packs once more, only to find by a sum what to map. Weights are shared by all instances
// in either form. docs/decisions/022 says more.
#pragma once

#include <functional>
#include <span>
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
  std::span<const Form> forms = optimised_forms;  // The first that is good enough is taken.
  // Looks at the session of the user's own file, before anything is measured: its Error is the
  // deploy's.
  std::function<Result<>(Session&, wire::Prepared&)> examine;
};

inline constexpr double slowdown_max = 1.03;

Result<wire::Prepared> prepare(Library&, const Preparation&);

std::string milliseconds(std::chrono::nanoseconds);

}  // namespace dormouse::onnx
