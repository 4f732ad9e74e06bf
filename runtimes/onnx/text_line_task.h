// `text-line` with its model.
//
// Option  "keys"  the file of the characters that the model tells apart ("keys.txt")
#pragma once

#include "runtimes/onnx/tasks.h"

namespace dormouse::onnx {

Result<std::unique_ptr<Task>> open_text_line(const wire::Options&, const Folder& code, Session&,
                                             wire::Options& notes);

}  // namespace dormouse::onnx
