#include "control/unpacking.h"

#include <sys/mman.h>
#include <unistd.h>

#include <map>

#include "base/bytes.h"
#include "base/utf8.h"
#include "sandbox/apart.h"

namespace dormouse::control {
namespace {

enum class Mark : std::uint8_t { file = 1, end = 2, error = 3, copy = 4 };

// Paths and sizes come on top of the contents.
constexpr std::uint64_t written_bytes_max = apart_limits.bytes_max + (32 << 20);

const Error broken{Code::invalid_argument, "what reading it gave is broken"};

class Writing final : public ZipVisitor {
 public:
  explicit Writing(int to) : to_(to) {}

  Result<> folder(const std::string&) override { return ok; }  // Those with files are made anyway.
  Result<> file(const std::string& path, std::uint64_t size) override {
    std::string head;
    put(head, static_cast<std::uint8_t>(Mark::file));
    put_sized(head, path);
    put(head, size);
    return content(head);
  }
  Result<> content(std::string_view piece) override {
    while (!piece.empty()) {
      const auto written = ::write(to_, piece.data(), piece.size());
      if (written <= 0) return system_error(Code::unavailable, "unpacking");
      piece.remove_prefix(static_cast<std::size_t>(written));
    }
    return ok;
  }
  Result<> copy(const std::string& path, const std::string& file) override {
    std::string said;
    put(said, static_cast<std::uint8_t>(Mark::copy));
    put_sized(said, path);
    put_sized(said, file);
    return content(said);
  }

 private:
  const int to_;
};

// Whose text comes from a process that a stranger may have taken over.
Error read_error(Reader& in) {
  constexpr std::size_t text_bytes_max = 1000;
  const auto code = in.get<std::uint8_t>();
  const std::string text = valid_utf8(in.get_sized().substr(0, text_bytes_max));
  const bool is_too_large = code == static_cast<std::uint8_t>(Code::too_large);
  if (!in.complete()) return broken;
  return {is_too_large ? Code::too_large : Code::invalid_argument, text};
}

}  // namespace

Result<Unpacked> Unpacked::read(http::Body written) {
  Unpacked unpacked(std::move(written));
  const auto bytes = unpacked.all_.view();
  if (!bytes) return bytes.error();
  Reader in(*bytes);
  std::map<std::string_view, std::string_view> contents;  // By path.
  for (;;) {
    const Mark mark{in.get<std::uint8_t>()};
    if (mark == Mark::error) return read_error(in);
    if (mark == Mark::end) break;
    const bool is_file = mark == Mark::file || mark == Mark::copy;
    if (!is_file || unpacked.files_.size() == apart_limits.entries_max) return broken;
    const std::string_view path = in.get_sized();
    std::string_view content;
    if (mark == Mark::file) {
      content = in.take(in.get<std::uint64_t>());
      contents[path] = content;
    } else {
      const auto file = contents.find(in.get_sized());
      if (file == contents.end()) return broken;
      content = file->second;
    }
    if (!in.ok()) return broken;
    unpacked.files_.push_back({std::string(path), content});
  }
  if (!in.complete()) return broken;
  return unpacked;
}

Result<Unpacked> unpack_apart(int zip) {
  const int to = ::memfd_create("unpacked", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (to < 0) return system_error(Code::unavailable, "making room to unpack");
  auto ran = sandbox::run_apart({.program = "/proc/self/exe",
                                 .argv = {"dormouse", std::string(unpack_command)},
                                 .input = zip,
                                 .output = to});
  const off_t size = ::lseek(to, 0, SEEK_END);
  http::Body written(to, 0, size < 0 ? 0 : static_cast<std::uint64_t>(size));  // Closes it.
  if (!ran) return std::move(ran).error().during("the zip");
  auto unpacked = Unpacked::read(std::move(written));
  if (!unpacked) return std::move(unpacked).error().during("the zip");
  return unpacked;
}

void write_unpacked(int zip, int to, const ArchiveLimits& limits) {
  Writing writing(to);
  const auto done = read_zip(zip, limits, &writing);
  std::string end;
  if (done) {
    put(end, static_cast<std::uint8_t>(Mark::end));
  } else {
    // What there is of a file's content must not be taken for the error.
    if (::ftruncate(to, 0) != 0 || ::lseek(to, 0, SEEK_SET) != 0) return;
    put(end, static_cast<std::uint8_t>(Mark::error));
    put(end, static_cast<std::uint8_t>(done.error().code));
    put_sized(end, done.error().message);
  }
  (void)writing.content(end).has_value();  // Without an end it is broken.
}

int unpack_here() {
  prepare_to_read_zips();
  sandbox::give_everything_up({.output_bytes_max = written_bytes_max});
  write_unpacked(STDIN_FILENO, STDOUT_FILENO, apart_limits);
  return 0;
}

}  // namespace dormouse::control
