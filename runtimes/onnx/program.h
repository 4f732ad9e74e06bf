// The ONNX runtime as a worker's program: what it answers to prepare, load and invoke.
//
// Options  "model"       the model's file, relative to the revision's folder ("model.onnx")
//          "threads"     per session ("1")
//          "task"        "" for tensors, or what tasks.h has: a picture in, JSON out
//          "task.…"      that task's options; "found.…" is what prepare() found out for it
//          "model.digest", and what prepare() returned: "optimised.form", "optimised.key",
//          "rehearse"    "yes": a fork runs it once before its first call
//          "template"    "yes": fork instances of it, if it has one thread
//          "memory_mib"  what was declared: a template locks mapped weights of up to half of that
// Errors   As wire/worker.h says; a message is one line and names the tensor or the file.
#pragma once

#include <memory>
#include <string>

#include "runtimes/onnx/library.h"
#include "wire/worker.h"

namespace dormouse::onnx {

struct Places {
  std::string code = "/code";  // The revision's files.
  std::string out = "/out";    // Where prepare() writes.
};

std::unique_ptr<wire::Program> program(std::unique_ptr<Library>, Places);

}  // namespace dormouse::onnx
