#include "runtimes/onnx/files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace dormouse::onnx {
namespace {

constexpr std::size_t path_bytes_max = 1024;
constexpr std::size_t external_files_max = 1024;

int open_below(int folder, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long opened = syscall(SYS_openat2, folder, path.c_str(), &how, sizeof(how));
    if (opened < 0 && (errno == ENOSYS || errno == EPERM)) {  // gVisor has no such call.
      return open_by_parts(folder, path, flags);
    }
    // RESOLVE_BENEATH gives EAGAIN while something else renames; a moment later it will not.
    if (opened >= 0 || (errno != EINTR && errno != EAGAIN)) return static_cast<int>(opened);
  }
}

// What a path may not be, before the kernel is asked.
Result<> well_formed(std::string_view path) {
  const auto bad = [](const char* why) { return Error{Code::invalid_argument, why}; };
  if (path.empty()) return bad("it is empty");
  if (path.size() > path_bytes_max) return bad("it is too long");
  if (path.find('\0') != path.npos) return bad("it has a zero byte");
  if (path.front() == '/') return bad("it is absolute");
  // ONNX Runtime reads this one as an address in its own memory.
  if (path.find("_ORT_MEM_ADDR_") != path.npos) return bad("it is a memory address");
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == "..") return bad("it has a \"..\"");
    // ONNX Runtime would look for it under another spelling.
    if (part == "." || part.empty()) return bad("it has a \".\" or an empty part");
    begin = end + 1;
  }
  return ok;
}

}  // namespace

int open_by_parts(int folder, const std::string& path, int flags) {
  wire::Descriptor at(openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::size_t begin = 0;
  for (std::size_t end; at && (end = path.find('/', begin)) != path.npos; begin = end + 1) {
    const std::string part = path.substr(begin, end - begin);
    at = wire::Descriptor(
        openat(at.number(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!at) return -1;
  return openat(at.number(), path.c_str() + begin, flags | O_NOFOLLOW | O_CLOEXEC);
}

MappedFile::~MappedFile() {
  if (size_ > 0) munmap(address_, size_);
}

Result<MappedFile> MappedFile::map(int descriptor) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0) return system_error(Code::function_failed, "fstat");
  MappedFile mapped;
  if (status.st_size == 0) return mapped;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED) return system_error(Code::function_failed, "mmap");
  mapped.address_ = address;
  mapped.size_ = size;
  return mapped;
}

void MappedFile::populate() const {
  if (size_ > 0) madvise(address_, size_, MADV_POPULATE_READ);
}

bool MappedFile::lock(const Range& part) const {
  if (part.offset > size_ || part.size > size_ - part.offset) return false;
  return part.size == 0 || mlock(static_cast<std::byte*>(address_) + part.offset, part.size) == 0;
}

Result<Folder> Folder::open(const std::string& path) {
  Folder folder;
  folder.path_ = path;
  folder.descriptor_ = wire::Descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.descriptor_) return system_error(Code::function_failed, "opening " + path);
  struct statvfs status{};
  // gVisor does not say so of a file system; nobody makes a name in a folder that is closed to
  // them.
  folder.read_only_ =
      (fstatvfs(folder.descriptor_.number(), &status) == 0 && (status.f_flag & ST_RDONLY) != 0) ||
      faccessat(folder.descriptor_.number(), ".", W_OK, 0) != 0;
  return folder;
}

// First without opening what is there (a FIFO would wait, a device would notice), then for reading;
// what counts is what the descriptor that is read from says of itself.
Result<wire::Descriptor> Folder::open_file(const std::string& path) const {
  const auto sound = well_formed(path);
  if (!sound) return sound.error();
  wire::Descriptor file;
  for (const int flags : {O_PATH, O_RDONLY | O_NONBLOCK | O_NOCTTY}) {
    file = wire::Descriptor(open_below(descriptor_.number(), path, flags));
    if (!file && errno == ELOOP) return Error{Code::invalid_argument, "it is or follows a link"};
    if (!file && errno == EXDEV) return Error{Code::invalid_argument, "it leads outside"};
    if (!file) return system_error(Code::invalid_argument, "it cannot be opened");
    struct stat status{};
    if (fstat(file.number(), &status) != 0 || !S_ISREG(status.st_mode)) {
      return Error{Code::invalid_argument, "it is not a regular file"};
    }
    if (!read_only_ && status.st_nlink > 1) {
      return Error{Code::invalid_argument, "it has a second name (a hard link)"};
    }
  }
  return file;
}

Result<MappedFile> Folder::map(std::string_view path) const {
  const auto file = open_file(std::string(path));
  if (!file) return file.error();
  return MappedFile::map(file->number());
}

const ExternalFile* ModelFiles::find(std::string_view location) const {
  const auto found = std::ranges::find(external_files, location, &ExternalFile::location);
  return found == external_files.end() ? nullptr : &*found;
}

void ModelFiles::populate() const {
  for (const ExternalFile& external : external_files) external.file.populate();
}

bool ModelFiles::lock() const {
  return std::ranges::all_of(used(),
                             [](const auto& each) { return each.first->lock(each.second); });
}

std::uint64_t ModelFiles::weights_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [file, part] : used()) bytes += part.size;
  return bytes;
}

std::vector<std::pair<const MappedFile*, Range>> ModelFiles::used() const {
  std::vector<std::pair<const MappedFile*, Range>> parts;
  const auto is_packed = [](const ExternalTensor& tensor) { return !tensor.packed.empty(); };
  if (std::ranges::none_of(external_tensors, is_packed)) {
    for (const ExternalFile& external : external_files) {
      parts.push_back({&external.file, {0, external.file.bytes().size()}});
    }
    return parts;
  }
  for (const ExternalTensor& tensor : external_tensors) {
    const MappedFile* const file = &find(tensor.location)->file;
    for (const Range& range : tensor.packed) parts.push_back({file, range});
    if (is_packed(tensor)) continue;
    const std::uint64_t end = file->bytes().size();
    const std::uint64_t rest = end - std::min(tensor.offset, end);
    parts.push_back({file, {tensor.offset, tensor.length > 0 ? tensor.length : rest}});
  }
  return parts;
}

Result<ModelFiles> open_model(const Folder& folder, const std::string& path) {
  ModelFiles files;
  auto model = folder.map(path);
  if (!model) return std::move(model).error().during("opening the model \"" + path + "\"");
  files.model = std::move(*model);
  const std::string beside = path.substr(0, path.rfind('/') + 1);  // npos + 1 is 0.
  files.folder = folder.path() + "/" + beside;
  auto tensors = external_tensors(files.model.bytes());
  if (!tensors) return std::move(tensors).error();
  files.external_tensors = std::move(*tensors);
  for (const ExternalTensor& tensor : files.external_tensors) {
    if (files.find(tensor.location) != nullptr) continue;
    const auto refused = [&](Error error) {
      return std::move(error).during("the external data \"" + tensor.location + "\" of tensor \"" +
                                     tensor.name + "\" is refused");
    };
    if (files.external_files.size() == external_files_max) {
      return refused({Code::invalid_argument, "the model names more than 1024 files"});
    }
    const auto sound = well_formed(tensor.location);
    if (!sound) return refused(sound.error());
    auto file = folder.map(beside + tensor.location);
    if (!file) return refused(std::move(file).error());
    files.external_files.push_back({tensor.location, std::move(*file)});
  }
  return files;
}

}  // namespace dormouse::onnx
