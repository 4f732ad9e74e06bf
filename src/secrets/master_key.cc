#include "secrets/master_key.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/socket.h"

namespace dormouse::secrets {
namespace {

using wire::Descriptor;

Result<> write_durably(const std::string& file, std::string_view bytes) {
  ::unlink(file.c_str());
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const Descriptor out(::open(file.c_str(), flags, 0600));
  if (!out) return system_error(Code::unavailable, "making " + file);
  const bool written = ::write(out.number(), bytes.data(), bytes.size()) == std::ssize(bytes);
  if (!written || ::fsync(out.number()) != 0) {
    return system_error(Code::unavailable, "writing " + file);
  }
  return ok;
}

Result<> rename_durably(const std::string& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return system_error(Code::unavailable, "renaming " + from);
  }
  const std::filesystem::path folder = to.has_parent_path() ? to.parent_path() : ".";
  const Descriptor place(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!place || ::fsync(place.number()) != 0) {
    return system_error(Code::unavailable, "syncing " + folder.string());
  }
  return ok;
}

}  // namespace

Result<MasterKey> read_key(const std::filesystem::path& file) {
  const Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) return system_error(Code::unavailable, "opening the master key " + file.string());
  struct stat status{};
  if (::fstat(in.number(), &status) != 0) {
    return system_error(Code::unavailable, "looking at the master key " + file.string());
  }
  if ((status.st_mode & 077) != 0) {
    return Error{Code::conflict, "others than its owner can read the master key " + file.string() +
                                     "; say `chmod 600 " + file.string() + "`"};
  }
  std::string bytes(MasterKey::size + 1, '\0');
  const ssize_t size = ::read(in.number(), bytes.data(), bytes.size());
  if (size != static_cast<ssize_t>(MasterKey::size)) {
    wipe(bytes);
    return Error{Code::conflict, file.string() + " is not a master key: it has not 32 bytes"};
  }
  MasterKey key(std::string_view(bytes).substr(0, MasterKey::size));
  wipe(bytes);
  return key;
}

Result<MasterKey> make_key(const std::filesystem::path& file) {
  std::string bytes(MasterKey::size, '\0');
  CHECK(::getrandom(bytes.data(), bytes.size(), 0) == std::ssize(bytes));
  const std::string beginning = file.string() + ".new";
  Result<> made = write_durably(beginning, bytes);
  if (made) made = rename_durably(beginning, file);
  MasterKey key(bytes);
  wipe(bytes);
  if (!made) return std::move(made).error().during("making the master key");
  return key;
}

}  // namespace dormouse::secrets
