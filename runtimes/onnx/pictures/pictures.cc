#include "runtimes/onnx/pictures/pictures.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <jpeglib.h>
#include <png.h>
#include <webp/decode.h>

#include "runtimes/onnx/pictures/orientation.h"

namespace {

struct Limits {
  std::uint32_t side_max;
  std::uint64_t pixels_max;
  // An outcome: decoded if it may be.
  int judge(std::uint64_t width, std::uint64_t height) const {
    if (width > side_max || height > side_max) return dormouse_picture_too_long;
    if (width * height > pixels_max) return dormouse_picture_too_large;
    return dormouse_picture_decoded;
  }
};

bool make_room(dormouse_picture& out, std::uint32_t width, std::uint32_t height,
               std::size_t channels = 3) {
  if (width == 0 || height == 0) return false;
  out = {width, height, static_cast<std::uint8_t*>(std::calloc(height, channels * width))};
  return out.pixels != nullptr;
}

int give_up(dormouse_picture& out, int outcome) {
  std::free(out.pixels);
  out = {};
  return outcome;
}

// libpng leaves by longjmp; nothing between setjmp and there has a destructor.
struct PngInput {
  std::string_view rest;
  std::jmp_buf escape;
};

[[noreturn]] void leave_png(png_structp decoder, png_const_charp) {
  std::longjmp(static_cast<PngInput*>(png_get_error_ptr(decoder))->escape, 1);
}
void bear_warnings(png_structp, png_const_charp) {
}
void read_png(png_structp decoder, png_bytep into, std::size_t size) {
  std::string_view& rest = static_cast<PngInput*>(png_get_io_ptr(decoder))->rest;
  if (size > rest.size()) leave_png(decoder, "");
  std::memcpy(into, rest.data(), size);
  rest.remove_prefix(size);
}

// Blue, green, red, whatever it holds; white shows through where it is transparent, mixed by the
// values as they are, as browsers and Pillow do it.
void want_bgr(png_structp decoder, png_infop info) {
  const png_uint_16 most = png_get_bit_depth(decoder, info) == 16 ? 0xffff : 0xff;
  const png_color_16 white{0, most, most, most, most};
  const bool alpha = (png_get_color_type(decoder, info) & PNG_COLOR_MASK_ALPHA) != 0 ||
                     png_get_valid(decoder, info, PNG_INFO_tRNS) != 0;
  png_set_expand(decoder);
  png_set_gray_to_rgb(decoder);
  if (alpha) png_set_background(decoder, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1);
  png_set_scale_16(decoder);
  png_set_bgr(decoder);
}

void read_rows(png_structp decoder, png_infop info, dormouse_picture& out) {
  const std::size_t row = std::size_t{3} * out.width;
  const int passes = png_set_interlace_handling(decoder);
  png_read_update_info(decoder, info);
  if (png_get_rowbytes(decoder, info) != row) leave_png(decoder, "");
  for (int pass = 0; pass < passes; ++pass) {
    for (std::size_t y = 0; y < out.height; ++y) {
      png_read_row(decoder, out.pixels + y * row, nullptr);
    }
  }
}

int decode_png(std::string_view bytes, Limits limits, dormouse_picture& out) {
  PngInput input{.rest = bytes};
  png_structp decoder =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, leave_png, bear_warnings);
  png_infop info = decoder == nullptr ? nullptr : png_create_info_struct(decoder);
  const auto leave_with = [&](int outcome) {
    png_destroy_read_struct(&decoder, &info, nullptr);
    return outcome == dormouse_picture_decoded ? outcome : give_up(out, outcome);
  };
  if (info == nullptr || setjmp(input.escape) != 0) return leave_with(dormouse_picture_malformed);
  png_set_read_fn(decoder, &input, read_png);
  // Only what pixels are made of. Of the rest gAMA and iCCP would change their values.
  png_set_keep_unknown_chunks(decoder, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(decoder, info);
  const std::uint32_t width = png_get_image_width(decoder, info);
  const std::uint32_t height = png_get_image_height(decoder, info);
  const int judged = limits.judge(width, height);
  if (judged != dormouse_picture_decoded) return leave_with(judged);
  if (!make_room(out, width, height)) return leave_with(dormouse_picture_malformed);
  want_bgr(decoder, info);
  read_rows(decoder, info, out);
  return leave_with(dormouse_picture_decoded);
}

// libjpeg leaves by longjmp, too.
struct JpegErrors {
  jpeg_error_mgr manager;
  std::jmp_buf escape;
};

[[noreturn]] void leave_jpeg(j_common_ptr decoder) {
  std::longjmp(reinterpret_cast<JpegErrors*>(decoder->err)->escape, 1);
}
void say_nothing(j_common_ptr) {
}
// A truncated file is a warning to libjpeg, which then fills the rest with grey.
void refuse_warnings(j_common_ptr decoder, int level) {
  if (level < 0) leave_jpeg(decoder);
}

void bound_scans(j_common_ptr common) {
  const auto* decoder = reinterpret_cast<j_decompress_ptr>(common);
  if (decoder->input_scan_number > jpeg_scans_max) leave_jpeg(common);
}

// The first of the markers that is EXIF's.
unsigned orientation_of(const jpeg_decompress_struct& decoder) {
  constexpr std::string_view exif("Exif\0\0", 6);
  for (auto* marker = decoder.marker_list; marker != nullptr; marker = marker->next) {
    const std::string_view bytes(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (bytes.starts_with(exif)) return picture_orientation(bytes.substr(exif.size()));
  }
  return 1;
}

// By its header.
int judge_jpeg(const jpeg_decompress_struct& decoder, Limits limits) {
  const bool cmyk = decoder.jpeg_color_space == JCS_CMYK || decoder.jpeg_color_space == JCS_YCCK;
  return cmyk ? dormouse_picture_cmyk : limits.judge(decoder.image_width, decoder.image_height);
}

// Makes a picture upright. False: there is no room for a second one, and this one is as it was.
bool turn(dormouse_picture& out, unsigned orientation) {
  if (orientation == 1) return true;
  const PictureTurn turning{orientation};
  dormouse_picture upright{};
  const bool swaps = turning.swaps_sides();
  if (!make_room(upright, swaps ? out.height : out.width, swaps ? out.width : out.height))
    return false;
  const PictureSide size{upright.width, upright.height};
  std::uint8_t* pixel = upright.pixels;
  for (std::size_t y = 0; y < size.height; ++y) {
    for (std::size_t x = 0; x < size.width; ++x, pixel += 3) {
      std::memcpy(pixel, out.pixels + 3 * turning.source(x, y, size), 3);
    }
  }
  std::free(out.pixels);
  out = upright;
  return true;
}

int decode_jpeg(std::string_view bytes, Limits limits, dormouse_picture& out) {
  jpeg_decompress_struct decoder{};
  JpegErrors errors{};
  decoder.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = leave_jpeg;
  errors.manager.emit_message = refuse_warnings;
  errors.manager.output_message = say_nothing;
  if (setjmp(errors.escape) != 0) {
    jpeg_destroy_decompress(&decoder);
    return give_up(out, dormouse_picture_malformed);
  }
  jpeg_create_decompress(&decoder);
  jpeg_progress_mgr progress{.progress_monitor = bound_scans};
  decoder.progress = &progress;
  decoder.mem->max_memory_to_use = 256L << 20;
  jpeg_mem_src(&decoder, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_save_markers(&decoder, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(&decoder, TRUE);
  const int judged = judge_jpeg(decoder, limits);
  if (judged != dormouse_picture_decoded) {
    jpeg_destroy_decompress(&decoder);
    return judged;
  }
  decoder.out_color_space = JCS_EXT_BGR;
  jpeg_start_decompress(&decoder);
  if (!make_room(out, decoder.output_width, decoder.output_height))
    leave_jpeg(reinterpret_cast<j_common_ptr>(&decoder));
  while (decoder.output_scanline < decoder.output_height) {
    JSAMPROW row = out.pixels + std::size_t{3} * decoder.output_scanline * decoder.output_width;
    jpeg_read_scanlines(&decoder, &row, 1);
  }
  const unsigned orientation = orientation_of(decoder);  // Finishing drops the markers.
  jpeg_finish_decompress(&decoder);
  jpeg_destroy_decompress(&decoder);
  return turn(out, orientation) ? dormouse_picture_decoded
                                : give_up(out, dormouse_picture_malformed);
}

// Blue, green, red, alpha becomes blue, green, red, in place. White shows through, as in a PNG.
void put_on_white(std::uint8_t* pixels, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const unsigned alpha = pixels[4 * i + 3];
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const unsigned mixed = pixels[4 * i + channel] * alpha + 255 * (255 - alpha);
      pixels[3 * i + channel] = static_cast<std::uint8_t>((mixed + 127) / 255);
    }
  }
}

int decode_webp(std::string_view bytes, Limits limits, dormouse_picture& out) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  WebPBitstreamFeatures found{};
  if (WebPGetFeatures(data, bytes.size(), &found) != VP8_STATUS_OK) {
    return dormouse_picture_malformed;
  }
  if (found.has_animation != 0) return dormouse_picture_animated;
  const auto width = static_cast<std::uint32_t>(found.width);
  const auto height = static_cast<std::uint32_t>(found.height);
  const int judged = limits.judge(width, height);
  if (judged != dormouse_picture_decoded) return judged;
  const bool alpha = found.has_alpha != 0;
  const int channels = alpha ? 4 : 3;
  const auto decode = alpha ? WebPDecodeBGRAInto : WebPDecodeBGRInto;
  const std::size_t count = std::size_t{width} * height;
  const std::size_t size = count * static_cast<std::size_t>(channels);
  if (!make_room(out, width, height, static_cast<std::size_t>(channels)) ||
      decode(data, bytes.size(), out.pixels, size, channels * found.width) == nullptr) {
    return give_up(out, dormouse_picture_malformed);
  }
  if (alpha) put_on_white(out.pixels, count);
  return dormouse_picture_decoded;
}

}  // namespace

int dormouse_decode_picture(const std::uint8_t* bytes, std::size_t size, std::uint32_t side_max,
                            std::uint64_t pixels_max, dormouse_picture* out) {
  *out = {};
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const Limits limits{side_max, pixels_max};
  if (text.starts_with("\x89PNG\r\n\x1a\n")) return decode_png(text, limits, *out);
  if (text.starts_with("\xff\xd8\xff")) return decode_jpeg(text, limits, *out);
  if (text.starts_with("RIFF") && text.substr(0, 12).ends_with("WEBP")) {
    return decode_webp(text, limits, *out);
  }
  return dormouse_picture_unknown;
}
