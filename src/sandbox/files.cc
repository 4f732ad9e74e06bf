#include "sandbox/files.h"

#include <fcntl.h>
#include <unistd.h>

#include "wire/socket.h"

namespace dormouse::sandbox {
namespace {
constexpr std::size_t text_bytes_max = 64 * 1024;
}

Result<> write_text(const std::filesystem::path& path, std::string_view text) {
  const wire::Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) return system_error(Code::unavailable, "open " + path.string());
  const ssize_t written = write(file.number(), text.data(), text.size());
  if (written < 0) {
    return system_error(errno == EBUSY ? Code::conflict : Code::unavailable,
                        "write " + path.string());
  }
  if (static_cast<std::size_t>(written) != text.size()) {
    return Error{Code::unavailable, "write " + path.string() + ": cut short"};
  }
  return ok;
}

Result<std::string> read_again(int descriptor) {
  std::string text(4096, '\0');
  std::size_t size = 0;
  for (;;) {
    const auto at = static_cast<off_t>(size);
    const ssize_t part = pread(descriptor, text.data() + size, text.size() - size, at);
    if (part < 0) return system_error(Code::unavailable, "read");
    if (part == 0) break;
    size += static_cast<std::size_t>(part);
    if (size == text_bytes_max) break;
    if (size == text.size()) text.resize(text.size() * 2);
  }
  if (size > 0 && text[size - 1] == '\n') --size;
  text.resize(size);
  return text;
}

Result<std::string> read_text(const std::filesystem::path& path) {
  const wire::Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error(Code::not_found, "open " + path.string());
  auto text = read_again(file.number());
  if (!text) return std::move(text).error().during(path.string());
  return text;
}

}  // namespace dormouse::sandbox
