// What one task does with a decoded picture. tasks.h has what is the same for all of them.
//
// Ownership  A Task refers to its model's session, which outlives it.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "runtimes/onnx/files.h"
#include "runtimes/onnx/resample.h"
#include "runtimes/onnx/session.h"
#include "wire/messages.h"

namespace dormouse::onnx {

class Task {
 public:
  virtual ~Task() = default;
  // JSON. function_failed if the model's answer is not what the task makes sense of.
  virtual Result<std::string> answer(const Picture&) = 0;
};

struct Declared {
  std::string name;
  wire::Options options;  // The task's own, by their names in the manifest.
  wire::Options found;    // What opening it at deploy found out; empty if that was not done.
};

struct OpenedTask {
  std::unique_ptr<Task> task;
  std::string note;     // What a person should know of it; "" if nothing.
  wire::Options found;  // To be declared next time: what only running the model tells.
};

// Files that options name are in `code`. The model is run only for what `found` does not tell.
// invalid_argument names the option that is wrong, or says what of the model does not fit.
using OpenTask = Result<OpenedTask>(const Declared&, const Folder& code, Session&);
OpenTask open_text_line, open_classification;

}  // namespace dormouse::onnx
