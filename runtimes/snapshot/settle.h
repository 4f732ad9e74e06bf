// A woken process's memory is the snapshot's file until it is written to. One that waits brings it
// into memory of its own, as it was before it was saved: in huge pages, which a fork copies sooner,
// and which the kernel does not drop.
#pragma once

#include <functional>
#include <string>

namespace dormouse::snapshot {

// Now, by all processors, what the program advised to be in huge pages: it is slower while that is
// in small ones. It gives up where memory is slow to come: 5 GB/s, after 6 ms.
void settle_large();

// Piece by piece, for as long as `goes_on` says so, which is asked before each. True: all of it is
// done. What is interrupted goes on where it was in the next call.
bool settle(const std::function<bool()>& goes_on);

// Has the kernel bring large files of this folder, those that are mapped, into its cache, if they
// are not there: sooner than page by page, and on the account of this process, not of the fork that
// needs them first.
void read_ahead(const std::string& folder);

}  // namespace dormouse::snapshot
