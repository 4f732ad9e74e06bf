#!/bin/sh
# host_root.sh ROOT FILE=PATH ...
#
# Assembles the root file system of the runtimes that run the host's own interpreters and programs:
# empty folders that /usr, /etc/alternatives and /etc/ssl/certs of the host are bound to, read-only, the links that
# a Debian has beside them, the few files of /etc that libraries ask for, and the FILEs.
set -eu
root=$1
shift

made=$root.made
rm -rf "$made"
for folder in dev proc sys tmp code slots usr etc/alternatives etc/ssl/certs opt/dormouse; do
  mkdir -p "$made/$folder"
done
for link in bin lib lib64 sbin; do
  ln -s "usr/$link" "$made/$link"
done
printf 'root:x:0:0::/:/bin/false\nfunction:x:1000:1000::/tmp:/bin/sh\n' >"$made/etc/passwd"
printf 'root:x:0:\nfunction:x:1000:\n' >"$made/etc/group"
printf '127.0.0.1 localhost\n' >"$made/etc/hosts"
printf 'hosts: files dns\n' >"$made/etc/nsswitch.conf"
: >"$made/etc/resolv.conf"

for pair in "$@"; do
  target=$made/${pair#*=/}
  mkdir -p "$(dirname "$target")"
  cp -L "${pair%%=/*}" "$target"
done

chmod -R u+w,a+rX "$made"
rm -rf "$root"
mv "$made" "$root"
