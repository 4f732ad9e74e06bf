#!/bin/sh
# assemble_root.sh ROOT PROGRAM [FILE[=PATH] ...]: see worker_root.cmake.
set -eu
root=$1
program=$2
shift 2

libraries=lib/$(uname -m)-linux-gnu
made=$root.made
rm -rf "$made"
for folder in bin lib64 "$libraries" dev proc sys tmp code out slots; do
  mkdir -p "$made/$folder"
done

# The libraries that $1 needs, and its program interpreter at its own path. The interpreter looks
# in the library folder by itself, so that neither a cache nor a search path is needed.
copy_needed() {
  needed=$(ldd "$1") || return 0  # Statically linked.
  if echo "$needed" | grep 'not found' >&2; then
    echo "assemble_root.sh: $1 needs libraries that are not here" >&2
    exit 1
  fi
  echo "$needed" | awk '/=> \//{print $3} /^\t\/lib64\//{print $1}' | while read -r file; do
    case $file in
      /lib64/*) cp -L -n "$file" "$made/lib64/" ;;
      *) cp -L -n "$file" "$made/$libraries/" ;;
    esac
  done
}

cp -L "$program" "$made/bin/worker"
copy_needed "$program"
for extra in "$@"; do
  file=${extra%%=/*}
  case $extra in
    *=/*) target=$made/${extra#*=/} ;;
    *.so | *.so.*) target=$made/$libraries/$(basename "$file") ;;
    *) target=$made/$(basename "$file") ;;
  esac
  mkdir -p "$(dirname "$target")"
  cp -L "$file" "$target"
  case $extra in *.so | *.so.*) [ "$extra" != "$file" ] || copy_needed "$file" ;; esac
done

chmod -R u+w,a+rX "$made"
rm -rf "$root"
mv "$made" "$root"
