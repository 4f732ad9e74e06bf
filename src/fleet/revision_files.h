// A revision's files, as a folder to lay out and as what its worker is told. Pure.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "catalog/catalog.h"
#include "conversations/shelf.h"
#include "sandbox/sandbox.h"
#include "wire/messages.h"

namespace dormouse::fleet {

// One path element that names exactly these files: the same files give the same name.
std::string tree_name(const catalog::Draft&);
std::vector<std::pair<std::string, Digest>> tree_files(const catalog::Draft&);

// Of all revisions that there are: what is kept of others can go.
std::set<std::string> tree_names(const catalog::Catalog&);
std::set<conversations::Revision> revisions_in(const catalog::Catalog&);

// What the manifest tells a worker at `prepare` and `load`: "name", "memory_mib" (as declared,
// whole MiB), "threads", "concurrency", "python.packages"; and if they are set "model",
// "model.digest", "handler", "command.0" and on, "task", "task.NAME", "env.NAME". With `load` go
// also "start_ms" and "settle_ms", the time that it has for that, and a fork of it to be ready.
wire::Options options_of(const catalog::Draft&);

sandbox::Limits limits_of(const catalog::Manifest&);

// Of a template, once it has loaded. It runs no more code of the user's, but the kernel charges it
// the page tables of all its forks; and what it brings into huge pages twice, for as long as a fork
// lives that was made before.
sandbox::Limits limits_of_template(const catalog::Manifest&);

// Its instances are forked from a template, as was found out when it was tried.
bool forks(const catalog::Draft&);
inline constexpr std::string_view template_option = "template";

// There is a snapshot of its template, which was woken when it was tried.
bool has_snapshot(const catalog::Draft&);
std::int64_t snapshot_bytes(const catalog::Draft&);
std::uint64_t snapshot_bytes_max(const catalog::Manifest&);  // More is not written.
inline constexpr std::string_view snapshot_path =
    ".dormouse/snapshot";  // In the revision's folder.
// Of `load`: "yes" if there is one. Of what a worker says is ready: snapshot_woken, if it came from
// there.
inline constexpr std::string_view snapshot_option = "snapshot", snapshot_woken = "woken";

// not_found in words for the user if the manifest names files that were not uploaded.
Result<> check_files(const catalog::Draft&);

}  // namespace dormouse::fleet
