// What one task does with a decoded picture. tasks.h has what is the same for all of them.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "runtimes/onnx/files.h"
#include "runtimes/onnx/resample.h"
#include "runtimes/onnx/session.h"
#include "runtimes/onnx/tasks.h"

namespace dormouse::onnx {

class Task {
 public:
  virtual ~Task() = default;
  virtual Result<std::string> answer(const Picture&) = 0;  // JSON.
};

struct OpenedTask {
  std::unique_ptr<Task> task;
  std::string note;
  wire::Options found;
};

using OpenTask = Result<OpenedTask>(const Declared&, const Folder& code, Session&);
OpenTask open_text_line, open_classification;

}  // namespace dormouse::onnx
