#include "control/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cwctype>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/links.h"
#include "control/paths.h"
#include "control/zip_directory.h"

namespace dormouse::control {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t block_bytes = 64 << 10;

Error refused(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

// libarchive reads names as the thread's locale says, and letters have a case only in one.
class Utf8Locale {
 public:
  Utf8Locale() : locale_(load()) { before_ = ::uselocale(locale_); }
  ~Utf8Locale() {
    ::uselocale(before_);
    ::freelocale(locale_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

  // It stays known to the C library for as long as one who loaded it has not freed it.
  static locale_t load() {
    const locale_t loaded = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    CHECK(loaded != nullptr);  // Part of the C library.
    return loaded;
  }

 private:
  locale_t locale_, before_;
};

// In lower case. `path` is UTF-8.
std::wstring folded(const std::string& path) {
  std::wstring wide(path.size(), L'\0');
  const std::size_t size = std::mbstowcs(wide.data(), path.c_str(), wide.size());
  if (size == static_cast<std::size_t>(-1)) return {path.begin(), path.end()};
  wide.resize(size);
  for (wchar_t& c : wide) c = static_cast<wchar_t>(std::towlower(static_cast<std::wint_t>(c)));
  return wide;
}

// Every path so far: no two of them may be one place, on any file system.
class Places {
 public:
  explicit Places(std::size_t most) : most_(most) {}

  Result<> add(const std::string& path, bool folder) {
    if (auto good = add_folders_of(path); !good) return good;
    return add_one(path, {path, folder, true});
  }
  std::size_t size() const { return places_.size(); }

 private:
  struct Place {
    std::string path;
    bool folder;
    bool listed;  // By an entry of its own, not only by what is in it.
  };

  // From the nearest upwards, until one is known: those above it are, too.
  Result<> add_folders_of(const std::string& path) {
    for (auto slash = path.rfind('/'); slash != path.npos && slash > 0;
         slash = path.rfind('/', slash - 1)) {
      const std::string folder = path.substr(0, slash);
      const auto known = places_.find(folded(folder));
      if (known != places_.end() && known->second.path == folder && known->second.folder) break;
      if (auto good = add_one(folder, {folder, true, false}); !good) return good;
    }
    return ok;
  }

  Result<> add_one(const std::string& path, const Place& place) {
    const auto [at, is_new] = places_.try_emplace(folded(path), place);
    Place& there = at->second;
    if (is_new) {
      if (places_.size() <= most_) return ok;
      return Error{Code::too_large, "more than " + std::to_string(most_) + " files and folders"};
    }
    if (there.path != path) {
      return refused("differs only in case from " + in_quotes(there.path));
    }
    if (there.folder != place.folder) return refused("is a file and a folder");
    if (there.listed && place.listed) return refused("is there twice");
    there.listed = there.listed || place.listed;
    return ok;
  }

  std::map<std::wstring, Place> places_;  // By folded path.
  std::size_t most_;
};

// A mode without a type is that of a plain file.
Result<> check_mode(std::uint32_t mode) {
  const std::uint32_t type = mode & S_IFMT;
  if (type != 0 && type != S_IFREG && type != S_IFDIR && type != S_IFLNK) {
    return refused("is a device, a pipe or a socket: only files, folders and links are taken");
  }
  if ((mode & (S_ISUID | S_ISGID)) != 0) return refused("has its setuid or setgid bit set");
  return ok;
}

// "lib/" → "lib"
std::string without_slash(std::string path) {
  if (path.ends_with('/')) path.pop_back();
  return path;
}

// By what is written, before the library makes something of it.
Result<> check_directory(int zip) {
  const auto listings = read_zip_directory(zip);
  if (!listings) return listings.error();
  for (const ZipListing& listing : *listings) {
    auto good = check_path(without_slash(listing.name));
    if (good) good = check_mode(listing.mode);
    if (!good) return std::move(good).error().during(in_quotes(listing.name));
  }
  return ok;
}

// A file that is written, and closed whatever happens.
class NewFile {
 public:
  explicit NewFile(const fs::path& path)
      : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) {}
  ~NewFile() {
    if (file_ >= 0) ::close(file_);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  bool is_open() const { return file_ >= 0; }
  bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto written = ::write(file_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }

 private:
  int file_;
};

class Reading {
 public:
  Reading(const ArchiveLimits& limits, ZipVisitor* visitor)
      : limits_(limits), visitor_(visitor), places_(limits.entries_max), left_(limits.bytes_max) {}

  Result<> run(int zip) {
    // With the directory at its end, as everybody reads a zip; not by what lies before each file.
    archive_read_support_format_zip_seekable(from());
    archive_read_set_options(from(), "zip:hdrcharset=UTF-8");
    if (archive_read_open_fd(from(), zip, block_bytes) != ARCHIVE_OK) return refused(said());
    for (std::size_t number = 1;; ++number) {
      archive_entry* entry = nullptr;
      const int status = archive_read_next_header(from(), &entry);
      if (status == ARCHIVE_EOF) return take_links();
      const char* name = status == ARCHIVE_FATAL ? nullptr : archive_entry_pathname_utf8(entry);
      const std::string whose = name ? in_quotes(name) : "entry " + std::to_string(number);
      Result<> done = refused(said());
      if (status == ARCHIVE_OK) done = name ? take(entry, name) : refused("its name is not UTF-8");
      if (!done) return std::move(done).error().during(whose);
    }
  }

 private:
  archive* from() { return archive_.get(); }
  std::string said() {
    const char* error = archive_error_string(from());
    return error ? error : "it cannot be read";
  }

  Result<> take(archive_entry* entry, const std::string& name) {
    const bool folder = name.ends_with('/');
    const std::string path = without_slash(name);
    if (auto good = check_path(path); !good) return good;
    if (auto good = check_mode(archive_entry_mode(entry)); !good) return good;
    if (archive_entry_is_encrypted(entry) != 0) return refused("is encrypted");
    if (archive_entry_hardlink(entry) != nullptr) return refused("is a hard link");
    if (folder != (archive_entry_filetype(entry) == AE_IFDIR)) {
      return refused("is a file by its name and a folder by its kind, or the other way round");
    }
    if (auto good = places_.add(path, folder); !good) return good;
    if (archive_entry_filetype(entry) == AE_IFLNK) return note_link(entry, path);
    return folder ? visitor_->folder(path) : take_file(entry, path);
  }

  Result<> note_link(archive_entry* entry, const std::string& path) {
    const char* const target = archive_entry_symlink_utf8(entry);
    if (target == nullptr) return refused("is a symbolic link to what is not UTF-8");
    links_.push_back({path, target});
    return ok;
  }

  Result<> take_links() {
    const std::size_t others = places_.size() - links_.size();
    const auto copies = followed(links_, files_, limits_.entries_max - others);
    if (!copies) return copies.error();
    for (const auto& [path, file] : *copies) {
      if (auto made = visitor_->copy(path, file); !made)
        return std::move(made).error().during(path);
    }
    return ok;
  }

  Result<> take_file(archive_entry* entry, const std::string& path) {
    const auto size = static_cast<std::uint64_t>(archive_entry_size(entry));
    if (archive_entry_size_is_set(entry) == 0 || archive_entry_size(entry) < 0) {
      return refused("does not say how large it is");
    }
    if (size > left_) {
      return Error{Code::too_large, "more than " + std::to_string(limits_.bytes_max) +
                                        " bytes in all when it is unpacked"};
    }
    left_ -= size;
    files_.push_back(path);
    if (auto begun = visitor_->file(path, size); !begun) return begun;
    std::uint64_t done = 0;
    for (;;) {
      const auto read = archive_read_data(from(), buffer_.data(), buffer_.size());
      if (read < 0) return refused(said());
      if (read == 0) break;
      done += static_cast<std::uint64_t>(read);
      if (done > size) return refused("unpacks to more than its header says");
      const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(read));
      if (auto taken = visitor_->content(bytes); !taken) return taken;
    }
    return done == size ? Result<>(ok) : refused("unpacks to less than its header says");
  }

  struct Freed {
    void operator()(archive* a) const { archive_read_free(a); }
  };
  const ArchiveLimits& limits_;
  ZipVisitor* visitor_;
  Places places_;
  std::uint64_t left_;
  std::vector<std::string> files_;
  std::vector<Link> links_;
  std::unique_ptr<archive, Freed> archive_{archive_read_new()};
  std::array<char, block_bytes> buffer_;
};

// Into a folder that nobody else writes to.
class Unpacking final : public ZipVisitor {
 public:
  explicit Unpacking(const fs::path& into) : into_(into) {}

  Result<> folder(const std::string& path) override {
    std::error_code failure;
    fs::create_directories(into_ / path, failure);
    if (failure) return Error{Code::unavailable, failure.message()};
    return ok;
  }
  Result<> file(const std::string& path, std::uint64_t) override {
    std::error_code failure;
    fs::create_directories((into_ / path).parent_path(), failure);
    if (failure) return Error{Code::unavailable, failure.message()};
    file_.emplace(into_ / path);
    if (!file_->is_open()) return system_error(Code::unavailable, "unpacking");
    return ok;
  }
  Result<> content(std::string_view piece) override {
    if (!file_->write(piece)) return system_error(Code::unavailable, "unpacking");
    return ok;
  }
  Result<> copy(const std::string& path, const std::string& file) override {
    std::error_code failure;
    file_.reset();
    fs::create_directories((into_ / path).parent_path(), failure);
    if (!failure) fs::create_hard_link(into_ / file, into_ / path, failure);
    if (failure) return Error{Code::unavailable, failure.message()};
    return ok;
  }

 private:
  const fs::path& into_;
  std::optional<NewFile> file_;
};

}  // namespace

void prepare_to_read_zips() {
  static const locale_t kept = Utf8Locale::load();
  CHECK(kept != nullptr);
}

Result<> read_zip(int zip, const ArchiveLimits& limits, ZipVisitor* visitor) {
  const Utf8Locale locale;
  const auto reading = std::make_unique<Reading>(limits, visitor);
  auto good = check_directory(zip);
  if (!good) return good;
  return reading->run(zip);
}

Result<> unpack_zip(const fs::path& zip, const fs::path& into, const ArchiveLimits& limits) {
  const int file = ::open(zip.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return system_error(Code::invalid_argument, "opening it").during(zip.filename().string());
  }
  Unpacking unpacking(into);
  auto done = read_zip(file, limits, &unpacking);
  ::close(file);
  if (!done) return std::move(done).error().during(zip.filename().string());
  return ok;
}

Result<TemporaryFolder> TemporaryFolder::make() {
  std::error_code failure;
  std::string path = (fs::temp_directory_path(failure) / "dormouse-XXXXXX").string();
  if (failure || ::mkdtemp(path.data()) == nullptr) {
    return system_error(Code::unavailable, "making a temporary folder");
  }
  return TemporaryFolder(path);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code failure;  // What is left behind is in the system's folder for that.
  if (!path_.empty()) fs::remove_all(path_, failure);
}

}  // namespace dormouse::control
