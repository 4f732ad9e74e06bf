#include "runtimes/onnx/tasks.h"

#include <algorithm>

namespace dormouse::onnx {
namespace {

struct Known {
  std::string_view name;
  OpenTask* open;
};
constexpr Known known[] = {{"text-line", open_text_line},
                           {"image-classification", open_classification}};

}  // namespace

Result<wire::Reply> PictureTask::answer(const wire::Content& content, Bytes body) {
  if (content.is_tensors || !is_picture(content.content_type)) {
    return Error{Code::unsupported, "this function takes image/png, image/jpeg or image/webp"};
  }
  const auto pixels = decoder_->decode(body);
  if (!pixels) return pixels.error();
  auto json = task_->answer(pixels->picture());
  if (!json) return std::move(json).error();
  return wire::Reply{{.content_type = "application/json"}, std::move(*json)};
}

Result<OpenedPictureTask> open_task(const Declared& declared, const Folder& code,
                                    Session& session) {
  const auto found = std::ranges::find(known, declared.name, &Known::name);
  if (found == std::end(known)) {
    return Error{Code::invalid_argument, "there is no task \"" + declared.name +
                                             "\"; there is text-line, and image-classification"};
  }
  auto opened = found->open(declared, code, session);
  if (!opened) return std::move(opened).error().during("task_options");
  auto decoder = Decoder::open();
  if (!decoder) return std::move(decoder).error();
  return OpenedPictureTask{
      std::make_unique<PictureTask>(std::move(*decoder), std::move(opened->task)),
      std::move(opened->note), std::move(opened->found)};
}

}  // namespace dormouse::onnx
