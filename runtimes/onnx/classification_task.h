// `image-classification` with its model: classification.h says what its options are.
#pragma once

#include "runtimes/onnx/tasks.h"

namespace dormouse::onnx {

// Unless the model and the options say all there is to know, the model is tried once, on a picture
// of noise: how many classes it tells apart, and whether it gives probabilities. `notes` gets
// "classification", as "10 classes of 8x8 grey pictures, softmax".
Result<std::unique_ptr<Task>> open_classification(const wire::Options&, const Folder& code,
                                                  Session&, wire::Options& notes);

}  // namespace dormouse::onnx
