#!/usr/bin/env bash
# D5: the k-th call of the disk fails, or the process dies at it, for several calls and many k. What
# was promised is there afterwards, nothing is there half, and nothing twice.
#
#   faults.sh STATE_WRITER ORACLE [MOST_K]
set -euo pipefail
writer=$1 oracle=$2 most=${3:-2}
export ASAN_OPTIONS=detect_leaks=0
command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null || exit 77
work=$(mktemp -d /tmp/dormouse-faults-XXXXXX)
trap 'rm -rf "$work"' EXIT

points=0 hits=0 failed=0
try() { # SYSCALL FAULT K
  rm -rf "$work/state" "$work/acks"
  mkdir "$work/state"
  { timeout 60 strace -f -qq -o /dev/null -e "trace=$1" -e "inject=$1:$2:when=$3" \
    "$writer" write "$work/state" "$work/acks" full 30 >"$work/said" 2>&1 || hits=$((hits + 1)); \
  } 2>/dev/null
  touch "$work/acks"
  points=$((points + 1))
  "$writer" check "$work/state" "$work/acks" 0 >"$work/checked" 2>&1 &&
    "$oracle" --data "$work/state" >"$work/verdict" 2>&1 && return
  echo "FAILED: $1 $2 at $3:" "$(cat "$work/said" "$work/checked" "$work/verdict" 2>/dev/null)"
  failed=1
}

for ((k = 1; k <= most; ++k)); do
  for call in fdatasync fsync pwrite64; do
    try "$call" error=EIO $((k * k))
    try "$call" signal=SIGKILL $((k * k))
  done
  try pwrite64 error=ENOSPC $((k * k + 1))
  try write error=ENOSPC $((k * k + 1))
  try rename signal=SIGKILL "$k"
done
echo "$points points, $hits of them stopped the writer, failed: $failed"
((hits > 0)) || failed=1  # Else nothing was tried.
exit $failed
