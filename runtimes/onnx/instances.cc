#include "runtimes/onnx/instances.h"

#include "runtimes/include/dormouse.h"

namespace dormouse::onnx {

Result<> give_up_capabilities() {
  if (dormouse_drop_capabilities() == 0) return ok;
  return system_error(Code::unavailable, "giving up capabilities");
}

}  // namespace dormouse::onnx
