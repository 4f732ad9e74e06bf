// How functions call each other: the socket says who calls, and the daemon counts how deep.
#include <sys/random.h>

#include "async/before.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::size_t depth_max = 16;
constexpr std::size_t calls_at_once_max = 64;    // Of one instance.
constexpr std::size_t streams_at_once_max = 16;  // Likewise; a window of each may wait for it.
constexpr std::uint64_t unread_answers_max = 4;  // Of the largest ones; of one instance.

InvocationId fresh_id(WallTime now) {
  std::array<std::uint64_t, 2> bits;
  CHECK(getrandom(bits.data(), sizeof(bits), 0) == static_cast<ssize_t>(sizeof(bits)));
  return InvocationId::make(now, bits);
}

// Every slot that the function may have is taken by a call that waits for this one.
bool would_wait_for_itself(const std::vector<std::string>& callers,
                           const catalog::Manifest& manifest) {
  const std::int64_t slots = std::int64_t{manifest.instances_max} * manifest.concurrency;
  return std::ranges::count(callers, manifest.name) >= slots;
}

// Of a stream whose function takes it no more, or whose call has ended.
Error given_up() {
  return {Code::cancelled, "the call was given up, or the one that it is made in has ended"};
}

}  // namespace

// A worker is about to call with a large body.
void Shard::give_call_room(InstanceKey to, const wire::Frame& frame) {
  Instance& where = *instance(to);
  const auto bytes = wire::decode_ask_room(frame.payload);
  const std::uint64_t handle = frame.header.handle;
  const bool may_ask = where.call_rooms.size() < calls_at_once_max &&
                       !where.call_rooms.contains(handle) && !where.calling.contains(handle);
  if (!bytes || *bytes > options_.answer_bytes_max || !may_ask) {
    return break_off(to, "the worker asks for room that it may not have");
  }
  std::vector<SharedDescriptor> descriptors;
  if (auto room = make_call_room(*bytes)) {
    descriptors.push_back(room->file);
    where.call_rooms[handle] = *std::move(room);
  }
  where.worker->post(wire::Type::room, handle, "", std::move(descriptors));
  to_flush(to, where);
}

// The call that it is made in, if it runs there: 0 is no call's key, and no half of an id.
CallKey Shard::caller_of(const Instance& from, std::uint64_t named) const {
  if (!listens(*served_.at(from.function).revision)) return CallKey{named};
  for (const CallKey each : from.running) {
    if (named == wire::any_caller || calls_.at(each)->invocation.id.low() == named) return each;
  }
  return CallKey{};
}

void Shard::begin_inner_call(InstanceKey from, const wire::Frame& frame) {
  Instance& where = *instance(from);
  const std::uint64_t handle = frame.header.handle;
  auto asked = wire::decode_call(frame.payload);
  const bool is_new = (handle & wire::call_bit) != 0 && !where.calling.contains(handle);
  if (!asked || !is_new) return break_off(from, "the worker broke the protocol: a malformed call");
  auto room = where.call_rooms.extract(handle);
  const CallKey caller = caller_of(where, asked->caller);
  auto made = inner_invocation(where, caller, *asked);
  where.calling.insert(handle);
  if (!made) return answer_inner_call(from, handle, std::move(made).error());
  InnerCall call{from, handle, caller};
  if (asked->in_memfd) call.room = room ? std::move(room.mapped()) : Room();
  if (!asked->in_memfd) made->body = http::Body(std::string(asked->inline_body));
  call.body_bytes = asked->body_size;
  call.in_memfd = asked->in_memfd;
  call.streams = (frame.header.flags & wire::flag_streaming) != 0;
  tasks_.spawn(run_inner_call(std::move(call), *std::move(made)));
}

// What is called, if it may be; without its body.
Result<Invocation> Shard::inner_invocation(const Instance& from, CallKey caller,
                                           const wire::Call& asked) const {
  if (!from.running.contains(caller)) {
    return Error{Code::conflict, "a function calls others while it is called, and only then"};
  }
  if (from.calling.size() >= calls_at_once_max) {
    return Error{Code::throttled, "an instance makes at most 64 calls at a time"};
  }
  std::vector<std::string> callers;  // Whichever of its calls it says it is in: the deepest counts.
  for (const CallKey each : from.running) {
    const auto& before = calls_.at(each)->invocation.callers;
    if (before.size() >= callers.size()) callers = before;
  }
  callers.push_back(calls_.at(caller)->invocation.revision->manifest.name);
  if (callers.size() > depth_max) {
    return Error{Code::conflict, "the functions call each other 16 deep already: recursion"};
  }
  const FunctionKey function = serving(asked.function);
  if (function == FunctionKey{}) {
    return Error{Code::not_found, "there is no function \"" + asked.function.substr(0, 64) + "\""};
  }
  const catalog::RevisionPtr revision = served_.at(function).revision;
  if (listens(*revision)) {
    return Error{Code::unsupported, "\"" + asked.function + "\" is an HTTP server: not called so"};
  }
  if (would_wait_for_itself(callers, revision->manifest)) {
    return Error{Code::conflict,
                 "recursion: all calls of \"" + asked.function +
                     "\" that its max_instances and concurrency allow wait for this one already"};
  }
  if (asked.body_size > static_cast<std::uint64_t>(revision->manifest.body_bytes_max)) {
    return Error{Code::too_large, "the body is larger than the function's max_body"};
  }
  if (asked.content.is_tensors) {
    const auto valid = wire::validate(asked.content.tensors, asked.body_size);
    if (!valid) return valid.error();
  }
  return Invocation{.id = fresh_id(parts_.clock->wall()),
                    .revision = revision,
                    .content = asked.content,
                    .accepted = parts_.clock->now(),
                    .callers = std::move(callers),
                    .deadline = calls_.at(caller)->deadline};
}

asio::awaitable<void> Shard::run_inner_call(InnerCall call, Invocation invocation) {
  if (call.in_memfd) {
    auto work = [&call] { return closed_to_writers(call.room, call.body_bytes); };
    auto closing = aside_.run(std::move(work));
    auto body = co_await std::move(closing);
    if (!body) co_return answer_inner_call(call.from, call.handle, std::move(body).error());
    invocation.body = *std::move(body);
  }
  auto running = invoke_within(call.caller, new_call(std::move(invocation)));
  Outcome outcome = co_await std::move(running);
  Result<Answer> ended = std::move(outcome.answer);
  if (ended && ended->stream && call.streams) {
    auto passing = pass_on(std::move(call), *std::move(ended));
    co_return co_await std::move(passing);
  }
  if (ended && ended->stream) {
    auto gathering = gather(call.from, std::move(*ended));
    ended = co_await std::move(gathering);
  }
  answer_inner_call(call.from, call.handle, std::move(ended));
}

// A stream as one body: who calls a function waits for all of its answer. What is gathered for one
// instance is bounded as one answer is.
asio::awaitable<Result<Answer>> Shard::gather(InstanceKey by, Answer streamed) {
  std::string all;
  Result<> ended = ok;
  for (;;) {
    auto reading = streamed.stream->next();
    const auto piece = co_await std::move(reading);
    if (!piece) ended = piece.error();
    if (!piece || !*piece) break;
    Instance* const where = instance(by);
    if (where == nullptr) break;
    where->gathered_bytes += (*piece)->size();
    all += **piece;
    if (where->gathered_bytes <= options_.answer_bytes_max) continue;
    ended = Error{Code::too_large, "the streams it calls for are larger than an answer may be"};
    if (all.size() > options_.answer_bytes_max) {
      auto ending = streamed.stream->give_up(
          {Code::function_failed, "its answer is larger than an answer may be"});
      co_await std::move(ending);
    }
    break;
  }
  if (Instance* const where = instance(by)) where->gathered_bytes -= all.size();
  if (!ended) co_return ended.error();
  Answer whole;
  whole.content = std::move(streamed.content);
  if (all.size() <= wire::inline_body_bytes_max) {
    whole.body = http::Body(std::move(all));
    co_return whole;
  }
  auto moving = aside_.run([&all] { return http::Body::in_memfd(all); });
  auto body = co_await std::move(moving);
  if (!body) co_return std::move(body).error();
  whole.body = *std::move(body);
  co_return whole;
}

// The head of a stream for a function that takes it as it comes. nullptr: it does not, and knows
// why.
std::shared_ptr<Passing> Shard::begin_passing(const InnerCall& call, wire::Content content) {
  Instance* const where = instance(call.from);
  if (where == nullptr || !where->worker) return nullptr;
  if (where->left.erase(call.handle) > 0) {
    end_passing(call, given_up());
    return nullptr;
  }
  if (where->passing.size() >= streams_at_once_max) {
    answer_inner_call(call.from, call.handle,
                      Error{Code::throttled, "an instance takes at most 16 streams at a time"});
    return nullptr;
  }
  auto passing = std::make_shared<Passing>(call.caller);
  where->passing[call.handle] = passing;
  Answer head;
  head.content = std::move(content);
  const auto order = answer_of_call(std::move(head));
  where->worker->post(wire::Type::answer, call.handle, order.payload, {}, wire::flag_streaming);
  to_flush(call.from, *where);
  return passing;
}

asio::awaitable<void> Shard::pass_on(InnerCall call, Answer streamed) {
  call.room = {};  // Of the body, which whoever is called has.
  const auto passing = begin_passing(call, std::move(streamed.content));
  if (!passing) co_return;
  for (;;) {
    auto racing = async::first_of(streamed.stream->next(), passing->left());
    auto first = co_await std::move(racing);
    if (first.index() == 1) co_return end_passing(call, given_up());
    auto piece = std::get<0>(std::move(first));
    if (!piece) co_return end_passing(call, piece.error());
    if (!*piece) co_return end_passing(call, ok);
    auto sending = pass_piece(call, passing, **std::move(piece));
    if (!co_await std::move(sending)) co_return end_passing(call, given_up());
  }
}

// False: nobody takes it any more.
asio::awaitable<bool> Shard::pass_piece(InnerCall call, std::shared_ptr<Passing> passing,
                                        std::string piece) {
  for (std::string_view rest = piece; !rest.empty();) {
    auto waiting = passing->has_room();
    if (!co_await std::move(waiting)) co_return false;
    Instance* const where = instance(call.from);
    if (where == nullptr || !where->worker) co_return false;
    const auto size = std::min({rest.size(), passing->room(), wire::payload_bytes_max});
    passing->sent(size);
    where->worker->post(wire::Type::chunk, call.handle, rest.substr(0, size));
    to_flush(call.from, *where);
    rest.remove_prefix(size);
  }
  co_return true;
}

void Shard::end_passing(const InnerCall& call, Result<> how) {
  Instance* const where = instance(call.from);
  if (where == nullptr || !where->worker) return;
  where->passing.erase(call.handle);
  if (!how) return answer_inner_call(call.from, call.handle, how.error());
  where->calling.erase(call.handle);
  where->worker->post(wire::Type::chunk, call.handle, "", {}, wire::flag_end);
  to_flush(call.from, *where);
}

// It may have ended meanwhile.
void Shard::credit_passing(InstanceKey from, const wire::Frame& frame) {
  Instance& where = *instance(from);
  const auto bytes = wire::decode_credit(frame.payload);
  const auto found = where.passing.find(frame.header.handle);
  const auto passing = found == where.passing.end() ? nullptr : found->second;
  if (!bytes || (passing && !passing->credit(*bytes))) {
    break_off(from, "the worker gives credit for more than it was sent");
  }
}

// Before it is answered, it is left once it is.
void Shard::leave_passing(InstanceKey from, const wire::Frame& frame) {
  Instance& where = *instance(from);
  const auto found = where.passing.find(frame.header.handle);
  if (found != where.passing.end()) {
    asio::post(executor_, [passing = found->second] { passing->give_up(); });
  } else if (where.calling.contains(frame.header.handle)) {
    where.left.insert(frame.header.handle);
  }
}

// Of one of its calls, or of all.
void Shard::give_up_passings(const Instance& where, std::optional<CallKey> caller) {
  for (const auto& [handle, passing] : where.passing) {
    if (caller && passing->caller() != *caller) continue;
    asio::post(executor_, [passing] { passing->give_up(); });
  }
}

void Shard::answer_inner_call(InstanceKey to, std::uint64_t handle, Result<Answer> ended) {
  Instance* const where = instance(to);
  if (where == nullptr || !where->worker) return;
  where->calling.erase(handle);
  where->left.erase(handle);
  if (where->worker->has_read_all()) where->unread_bytes = 0;
  if (ended) where->unread_bytes += ended->body.size();
  if (where->unread_bytes > unread_answers_max * options_.answer_bytes_max) {
    ended = Error{Code::throttled, "the function does not read the answers to its calls"};
  }
  auto order = answer_of_call(std::move(ended));
  where->worker->post(wire::Type::answer, handle, order.payload, std::move(order.descriptors));
  to_flush(to, *where);
}

}  // namespace dormouse::fleet
