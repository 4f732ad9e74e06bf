#include "http/message.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "http/head.h"
#include "http/hex.h"

namespace dormouse::http {
namespace {

// Empty if `text` is not properly encoded.
std::optional<std::string> decode_form(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

// Nobody can make the file shorter from here on, which would turn reading its mapping into SIGBUS.
bool keep_from_shrinking(int memfd) {
  if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) == 0) return true;
  const int seals = fcntl(memfd, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

}  // namespace

void append_field(std::string& to, std::string_view name, std::string_view value) {
  constexpr std::string_view separator = ": ", end_of_line = "\r\n";
  const std::size_t before = to.size();
  const std::size_t all =
      before + name.size() + separator.size() + value.size() + end_of_line.size();
  to.resize_and_overwrite(all, [&](char* at, std::size_t) {
    at += before;
    for (const std::string_view each : {name, separator, value, end_of_line}) {
      std::memcpy(at, each.data(), each.size());
      at += each.size();
    }
    return all;
  });
}

void Fields::add(std::string_view name, std::string_view value) {
  constexpr std::size_t usual_fields = 8, usual_bytes = 256;
  if (sizes_.empty()) {
    sizes_.reserve(usual_fields);
    lines_.reserve(usual_bytes);
  }
  append_field(lines_, name, value);
  sizes_.push_back({name.size(), value.size()});
}

std::ranges::subrange<FieldIterator> Fields::all() const {
  const char* const end = lines_.data() + lines_.size();
  return {FieldIterator(lines_.data(), sizes_.data()),
          FieldIterator(end, sizes_.data() + sizes_.size())};
}

std::optional<std::string_view> Fields::find(std::string_view name) const {
  for (const auto& [one, value] : all()) {
    if (equals_ignoring_case(one, name)) return value;
  }
  return std::nullopt;
}

Result<Body> Body::in_memfd(std::string_view text) {
  const int memfd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memfd < 0) return system_error(Code::unavailable, "making room for a body");
  Body body(memfd, 0, text.size());
  while (!text.empty()) {
    const ssize_t wrote = write(memfd, text.data(), text.size());
    if (wrote <= 0) return system_error(Code::unavailable, "writing a body");
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return body;
}

Body::Body(int memfd, std::uint64_t offset, std::uint64_t size, BodyShare share)
    : file_(std::make_unique<File>()) {
  file_->memfd = memfd;
  file_->offset = offset;
  file_->size = size;
  file_->share = std::move(share);
}

Body::File::~File() {
  if (mapping != nullptr) munmap(mapping, mapping_size);
  if (memfd >= 0) close(memfd);
}

Body Body::behind(std::uint64_t bytes) && {
  bytes = std::min(bytes, size());
  if (!file_) return Body(std::exchange(text_, {}).substr(bytes));
  const std::unique_ptr<File> whole = std::move(file_);
  return Body(std::exchange(whole->memfd, -1), whole->offset + bytes, whole->size - bytes,
              std::move(whole->share));
}

Result<std::string_view> Body::view() const {
  if (!file_) return std::string_view(text_);
  if (file_->size == 0) return std::string_view();
  if (auto mapped = file_->map(); !mapped) return mapped.error();
  const char* const end = static_cast<const char*>(file_->mapping) + file_->mapping_size;
  return std::string_view(end - file_->size, file_->size);
}

Result<> Body::File::map() {
  if (mapping != nullptr) return ok;
  if (!keep_from_shrinking(memfd)) return Error{Code::unavailable, "a body that may shrink"};
  const off_t file_size = lseek(memfd, 0, SEEK_END);
  if (file_size < 0 || static_cast<std::uint64_t>(file_size) < offset + size) {
    return Error{Code::unavailable, "a body shorter than it was said to be"};
  }
  const std::uint64_t page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = offset / page * page;
  const std::size_t wanted = offset + size - begin;
  void* const made =
      mmap(nullptr, wanted, PROT_READ, MAP_PRIVATE, memfd, static_cast<off_t>(begin));
  if (made == MAP_FAILED) return system_error(Code::unavailable, "mapping a body");
  mapping = made;
  mapping_size = wanted;
  return ok;
}

namespace {

// The next pair that is called so, which is taken off the query with all before it; its value as it
// came.
std::optional<std::string_view> take_value(std::string_view& query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    if (decode_form(pair.substr(0, equals)) != name) continue;
    return equals == std::string_view::npos ? "" : pair.substr(equals + 1);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> query_value(std::string_view query, std::string_view name) {
  const auto value = take_value(query, name);
  return value ? decode_form(*value) : std::nullopt;
}

std::vector<std::string> query_values(std::string_view query, std::string_view name) {
  std::vector<std::string> values;
  while (const auto value = take_value(query, name)) {
    if (auto decoded = decode_form(*value)) values.push_back(*std::move(decoded));
  }
  return values;
}

}  // namespace dormouse::http
