#!/usr/bin/env bash
# That a release program is built the way cmake/compiler.cmake means it to be.
#
#   tests/hardening_test.sh PROGRAM
set -euo pipefail
export LC_ALL=C

program=$1
failed=0

expect() { # WHAT PATTERN TEXT
  if grep -qE -- "$2" <<<"$3"; then
    echo "good: $1"
  else
    echo "BAD:  $1: no /$2/; see cmake/compiler.cmake"
    failed=1
  fi
}

headers=$(readelf -hlW "$program")
dynamic=$(readelf -dW "$program")
symbols=$(readelf --dyn-syms -W "$program")

expect "position independent" 'Type: +DYN' "$headers"
expect "marked as such" 'FLAGS_1.*PIE' "$dynamic"
expect "relocations read-only" 'GNU_RELRO' "$headers"
expect "all of them, bound at start" 'BIND_NOW|FLAGS_1.*NOW' "$dynamic"
expect "no executable stack" 'GNU_STACK.* RW +0' "$headers"
expect "stack protector" '__stack_chk_fail' "$symbols"
expect "fortified calls" '__[a-z]+_chk@' "$symbols"
# The start files of Debian 12 are not marked for CET, so the linker cannot mark the whole program;
# what is ours is compiled for it.
landing_pads=$(objdump -d --no-show-raw-insn "$program" | grep -c endbr64 || true)
if ((landing_pads > 100)); then
  echo "good: $landing_pads landing pads for indirect branches"
else
  echo "BAD:  only $landing_pads landing pads: -fcf-protection is missing"
  failed=1
fi
if grep -qE 'RPATH|RUNPATH' <<<"$dynamic"; then
  echo "BAD:  it searches libraries in a path of its own"
  failed=1
fi
exit $failed
