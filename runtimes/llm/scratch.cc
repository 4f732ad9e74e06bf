#include "runtimes/llm/scratch.h"

#include <ggml-backend.h>

#include <utility>

namespace dormouse::llm {
namespace {

Pages& scratch() {
  static Pages pages;
  return pages;
}

}  // namespace

void note_scratch(ggml_cgraph* graph) {
  scratch() = {};
  if (ggml_graph_n_nodes(graph) == 0) return;
  const ggml_tensor* const last = ggml_graph_node(graph, -1);
  ggml_backend_buffer_t const buffer = last->buffer;
  if (buffer == nullptr) return;
  if (ggml_backend_buffer_get_type(buffer) != ggml_backend_cpu_buffer_type()) return;
  if (ggml_backend_buffer_get_usage(buffer) != GGML_BACKEND_BUFFER_USAGE_COMPUTE) return;
  scratch() = Pages::inside(ggml_backend_buffer_get_base(buffer),
                            ggml_backend_buffer_get_size(buffer), page_bytes());
}

void forget_scratch() {
  scratch() = {};
}

Pages give_back_scratch() {
  const Pages pages = std::exchange(scratch(), {});
  (void)pages.advise(MADV_DONTNEED);  // If it cannot be, it stays.
  return pages;
}

}  // namespace dormouse::llm
