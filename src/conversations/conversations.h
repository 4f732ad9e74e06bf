// What a language model computed of a conversation, kept on disk while its instance sleeps, so that
// the next turn need not read all of it again. A state is bytes that only the worker understands
// that wrote them; it is given to the same revision's workers and to nobody else's.
//
// A state is a cache: it may be gone at any time. The oldest used go first when there are too many.
// It is written beside its place and renamed, so that a crash leaves the one before, or none.
// docs/formats/conversation.md.
//
// Threads    One executor. Files are read on one thread and written on another.
// Errors     What cannot be read is not there; what cannot be written is logged, and not there.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "conversations/shelf.h"
#include "wire/socket.h"

namespace dormouse::conversations {

inline constexpr std::size_t name_bytes_max = 128;
// Of 1 to so many bytes, printable ASCII.
bool is_name(std::string_view);

// The bytes are [offset, offset + size) of the file, which cannot be written to through this.
struct State {
  wire::Descriptor file;
  std::uint64_t offset = 0;  // Of a page.
  std::uint64_t size = 0;
};

class Conversations {
 public:
  virtual ~Conversations() = default;
  // What was kept last, and is whole; nullopt: nothing.
  virtual asio::awaitable<std::optional<State>> find(Key) = 0;
  // Keeps the first `size` bytes of `from`, a memfd that cannot shrink, in the place of what was
  // there; on the way until close(). Too large, or too many on the way: nothing changes.
  virtual void keep(Key, std::shared_ptr<const wire::Descriptor> from, std::uint64_t size) = 0;
  virtual std::uint64_t size_max() const = 0;

  virtual std::vector<Entry> of(std::string_view tenant, std::string_view function) const = 0;
  // Of every revision. False: there is none.
  virtual bool drop(std::string_view tenant, std::string_view function, std::string_view name) = 0;
  virtual void drop_function(std::string_view tenant, std::string_view function) = 0;
  // Drops those of all other revisions.
  virtual void retain(const std::set<Revision>&) = 0;

  virtual asio::awaitable<void> close() = 0;  // When what is on the way has been written.
};

struct Options {
  std::filesystem::path dir;
  std::uint64_t bytes_max = std::uint64_t{4} << 30;   // Of all,
  std::uint64_t size_max = std::uint64_t{512} << 20;  // of each,
  std::size_t count_max = 10'000;                     // and how many.
};

// Finds what an earlier process kept, and removes what it left half-written.
Result<std::unique_ptr<Conversations>> open(asio::any_io_executor, async::Clock*, Options);

}  // namespace dormouse::conversations
