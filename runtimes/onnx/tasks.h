// What a model is for, so that a person's picture goes in and an answer as JSON comes out, without
// tensors: `text-line` and `image-classification`. Decoding is the same for all of them.
//
// Errors  open_task(): as its task says, or invalid_argument if there is no such task. answer():
//         unsupported if the body is no picture, and what Decoder and Task say.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "runtimes/onnx/decoder.h"
#include "runtimes/onnx/task.h"
#include "wire/messages.h"
#include "wire/worker.h"

namespace dormouse::onnx {

class PictureTask {
 public:
  PictureTask(std::unique_ptr<Decoder> decoder, std::unique_ptr<Task> task)
      : decoder_(std::move(decoder)), task_(std::move(task)) {}
  Result<wire::Reply> answer(const wire::Content&, Bytes body);

 private:
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Task> task_;
};

struct OpenedPictureTask {
  std::unique_ptr<PictureTask> task;
  std::string note;  // As an OpenedTask's.
  wire::Options found;
};

Result<OpenedPictureTask> open_task(const Declared&, const Folder& code, Session&);

}  // namespace dormouse::onnx
