// A manifest and a whole deploy out of any bytes: an Error, or a manifest that survives being
// written and read again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "control/deploy.h"
#include "control/manifest.h"
#include "gateway/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace dormouse;
  const auto value = gateway::parse_json({reinterpret_cast<const char*>(bytes), size});
  if (!value) return 0;
  (void)control::read_deploy(*value, "fuzzed").has_value();
  const auto manifest = control::read_manifest(*value);
  if (!manifest) return 0;
  const auto again = control::read_manifest(control::manifest_json(*manifest));
  CHECK(again && *again == *manifest);
  return 0;
}
