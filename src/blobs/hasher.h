// SHA-256, a piece at a time. For blobs' own .cc files.
#pragma once

#include <memory>
#include <string_view>

#include "base/digest.h"

struct evp_md_ctx_st;

namespace dormouse::blobs {

class Hasher {
 public:
  Hasher();
  void add(std::string_view bytes);
  Digest finish();  // Once; afterwards it cannot be added to.

 private:
  struct Free {
    void operator()(evp_md_ctx_st*) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> state_;
};

}  // namespace dormouse::blobs
