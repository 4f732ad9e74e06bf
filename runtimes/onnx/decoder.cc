#include "runtimes/onnx/decoder.h"

#include <dlfcn.h>

#include <string>

#include "base/ascii.h"
#include "runtimes/onnx/pictures/pictures.h"

namespace dormouse::onnx {
namespace {

class SharedObject final : public Decoder {
 public:
  using Function = decltype(&dormouse_decode_picture);
  explicit SharedObject(Function decode) : decode_(decode) {}

  Result<Pixels> decode(Bytes picture) override {
    dormouse_picture out{};
    const int outcome = decode_(reinterpret_cast<const std::uint8_t*>(picture.data()),
                                picture.size(), picture_side_max, picture_pixels_max, &out);
    switch (outcome) {
      case dormouse_picture_decoded: break;
      case dormouse_picture_too_large:
        return Error{Code::too_large, "the picture has more than 16 million pixels"};
      case dormouse_picture_too_long:
        return Error{Code::too_large, "the picture has a side of more than 16,384 pixels"};
      case dormouse_picture_unknown:
        return Error{Code::unsupported, "the picture is neither PNG nor JPEG nor WebP"};
      case dormouse_picture_cmyk:
        return Error{Code::unsupported, "the picture is a JPEG in CMYK: save it in RGB"};
      case dormouse_picture_animated:
        return Error{Code::unsupported, "the picture is an animated WebP: send one of its frames"};
      default: return Error{Code::invalid_argument, "the picture is damaged"};
    }
    return Pixels{out.width, out.height, std::unique_ptr<std::uint8_t, Free>(out.pixels)};
  }

 private:
  Function decode_;
};

}  // namespace

Result<std::unique_ptr<Decoder>> Decoder::open() {
  const auto failed = [] {
    return Error{Code::unavailable, std::string("loading the picture codecs: ") + dlerror()};
  };
  void* const handle = dlopen("libdormouse_pictures.so", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) return failed();
  void* const symbol = dlsym(handle, "dormouse_decode_picture");
  if (symbol == nullptr) return failed();
  return std::make_unique<SharedObject>(reinterpret_cast<SharedObject::Function>(symbol));
}

bool is_picture(std::string_view content_type) {
  return is_media_type(content_type, "image/png") || is_media_type(content_type, "image/jpeg") ||
         is_media_type(content_type, "image/webp");
}

}  // namespace dormouse::onnx
