// What AWS's deploy tools say of a function: AWS Lambda's JSON → manifests. Pure.
//
// What dormouse has is a field of the manifest; what is only AWS's, and is told back, is a label
// ("aws.role"). What neither can mean here is refused by name; what is there but empty says
// nothing, and is left out. A variable whose value is "dormouse:secret:NAME" is that secret, given
// at `init`, as the code is loaded.
//
//   Runtime        python3.x: python · nodejs20.x and later: node · provided.al2…: executable
//   Handler        handler
//   MemorySize     memory, in MiB        Timeout     timeout, in seconds
//   Environment    env and secrets       Role, Description, Tags    labels
//
// One tag is heard as well: "dormouse:network" is the network, "none", "outbound" or HOST:PORT, of
// which several have blanks between them, as the value of a tag may.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "gateway/json.h"

namespace dormouse::control {

// What a request that changes a function asks for.
struct LambdaChange {
  std::string name;                // CreateFunction's.
  std::optional<std::string> zip;  // In base64, as it came.
  std::string revision_id;         // "": whichever there is.
  bool publish = false;
  bool dry_run = false;
  catalog::Manifest manifest;  // What it becomes; without the labels of the code.
};

// invalid_argument names the field. `otherwise`: the network of what no tag says it of.
Result<LambdaChange> read_create_function(const json::value&, const catalog::Network& otherwise);
Result<LambdaChange> read_update_code(const json::value&, const catalog::Manifest& before);
Result<LambdaChange> read_update_configuration(const json::value&, const catalog::Manifest& before);

Result<LambdaChange> read_tag_resource(const json::value&, const catalog::Manifest& before);
Result<LambdaChange> read_untag_resource(std::span<const std::string> tags,
                                         const catalog::Manifest& before,
                                         const catalog::Network& otherwise);

// PublishVersion's body, of the revision that is active: conflict if it means another one.
Result<> check_publish(const json::value&, const catalog::Revision&);

struct ZipFacts {
  std::string sha256;  // In base64.
  std::uint64_t bytes = 0;
};
void note_zip(catalog::Manifest&, const ZipFacts&);

}  // namespace dormouse::control
