#!/usr/bin/env bash
# fresh-debian.sh SUITE DIRECTORY - a Debian with nothing in it but its base, made by debootstrap; its apt takes mirror
# and proxy settings from this machine. What the proofs and tests/chroot.sh begin with; needs root.
set -euo pipefail

suite=$1
root=$2
mirror=$(grep -hoE 'https?://[^ ]*/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null |
    head -n 1 | tr -d ' ') || true
debootstrap --variant=minbase "$suite" "$root" "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log"; exit 1; }
rm -f "$root.log"
if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    # shellcheck source=/dev/null
    here=$(. /etc/os-release && echo "$VERSION_CODENAME")
    sed "s/$here/$suite/g" /etc/apt/sources.list.d/debian.sources >"$root/etc/apt/sources.list.d/debian.sources"
    : >"$root/etc/apt/sources.list"
fi
apt-config dump | grep -E '^Acquire::(http|https|Check)' >"$root/etc/apt/apt.conf.d/90host" || true
