// What a model is for, so that a person's picture goes in and an answer as JSON comes out, without
// tensors: `text-line` and `image-classification`. Decoding is the same for all of them.
//
// Ownership  A PictureTask keeps a pointer to its model's session, which outlives it.
// Errors     open_task(): invalid_argument says what is wrong with the task, with which of its
// options
//            or with the model. answer(): unsupported if the body is no picture, what Decoder says
//            of a damaged one, function_failed if the model's answer is not what the task makes
//            sense of.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "runtimes/onnx/files.h"
#include "runtimes/onnx/resample.h"
#include "runtimes/onnx/session.h"
#include "wire/messages.h"

namespace dormouse::onnx {

class PictureTask {
 public:
  virtual ~PictureTask() = default;
  virtual Result<wire::Reply> answer(const wire::Content&, Bytes body) = 0;
};

struct Declared {
  std::string name;
  wire::Options options;  // Its own, by their names in the manifest.
  wire::Options found;    // What opening it at deploy found out; empty if that was not done.
};

struct Opened {
  std::unique_ptr<PictureTask> task;
  std::string note;     // What a person should know of it; "" if nothing.
  wire::Options found;  // To be declared next time: what only running the model tells.
};

// Files that options name are in `code`. The model is run only for what `found` does not tell.
Result<Opened> open_task(const Declared&, const Folder& code, Session&);

}  // namespace dormouse::onnx
