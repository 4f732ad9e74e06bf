#!/usr/bin/env bash
# D2: power cuts. The state lies on an ext4 of its own, on a loop device, which is shut down without
# flushing its journal while it is written to; what was promised must be there after the next mount.
# The control, whose commits are not synced, must lose something: else this test proves nothing.
#
#   powercut.sh STATE_WRITER ORACLE [CUTS]
set -euo pipefail
writer=$1 oracle=$2 cuts=${3:-5}
export ASAN_OPTIONS=detect_leaks=0
[[ $(id -u) == 0 ]] && command -v mke2fs losetup >/dev/null || exit 77
# In mounts of its own: a sandbox that starts meanwhile must not hold the disk.
if [[ -z ${POWERCUT_UNSHARED-} ]]; then
  POWERCUT_UNSHARED=1 exec unshare --mount --propagation private "$0" "$@"
fi
work=$(mktemp -d /tmp/dormouse-powercut-XXXXXX)
# In memory: a sync is as fast as the promise supposes, whatever the host's disk has to do.
mount -t tmpfs -o size=512m tmpfs "$work"
loop= pid=
clean_up() {
  [[ -z $pid ]] || kill -9 "$pid" 2>/dev/null || true
  umount "$work/disk" 2>/dev/null || true
  [[ -z $loop ]] || losetup -d "$loop" 2>/dev/null || true
  umount "$work" && rmdir "$work"
}
trap clean_up EXIT

new_disk() {
  umount "$work/disk" 2>/dev/null || true
  [[ -z $loop ]] || losetup -d "$loop"
  rm -f "$work/image" "$work/acks"
  truncate -s 256M "$work/image"
  mke2fs -q -t ext4 -F "$work/image"
  loop=$(losetup -f --show "$work/image") || exit 77
  mkdir -p "$work/disk"
  mount "$loop" "$work/disk"
}

cut_power() { # prints when, in microseconds of the monotonic clock
  python3 - "$work/disk" <<'P'
import fcntl, os, struct, sys, time
disk = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
print(int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6))
fcntl.ioctl(disk, 0x8004587D, struct.pack("I", 2))  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
P
}

# Writes for a moment, cuts the power, waits for the writer to notice, mounts the disk again.
disaster() { # full|normal
  "$writer" write "$work/disk" "$work/acks" "$1" >"$work/said" &
  pid=$!
  sleep "1.$((RANDOM % 10))"
  cut_us=$(cut_power)
  if wait "$pid"; then
    echo "the writer did not notice"
    exit 1
  fi
  pid=
  umount "$work/disk"
  mount "$loop" "$work/disk"
}

failed=0
for ((cut = 1; cut <= cuts; ++cut)); do
  new_disk
  disaster full
  "$writer" check "$work/disk" "$work/acks" "$cut_us" || failed=1
  "$oracle" --data "$work/disk" >"$work/verdict" || { cat "$work/verdict"; failed=1; }
done

# A cut just behind a sync of its own, as of a checkpoint, takes nothing: of some, one must.
control_loses() {
  new_disk
  disaster normal
  local checked=0
  "$writer" check "$work/disk" "$work/acks" "$cut_us" >"$work/control" || checked=1
  sed 's/^/control: /' "$work/control"
  [[ $checked == 1 ]] && grep -q 'lost: revisions [1-9]' "$work/control"
}
control_loses || control_loses || control_loses || { echo "the control lost no revision"; failed=1; }
exit $failed
