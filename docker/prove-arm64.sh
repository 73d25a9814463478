#!/usr/bin/env bash
# prove-arm64.sh - shows on a machine of another kind that arm64 is served as well: in a fresh Debian gcc makes the
# programs and the unit tests for it, qemu runs these tests, the goldens, where there are any, and the server, which
# solves a puzzle and drains.
#
# Needs root, debootstrap and a Debian mirror. SUITE=bookworm (the default) chooses the Debian, PORT=N the port,
# KEEP=1 keeps the fresh Debian, WORK=DIR goes on with one that was kept. Exit status 0 only if all of it worked.
set -euo pipefail
# shellcheck source=docker/prove-common.sh
. "$(dirname "$0")/prove-common.sh"

repository=$(realpath "$(dirname "$0")/..")
suite=${SUITE:-bookworm}
port=${PORT:-18084}
server=

needs "debootstrap curl git iproute2" debootstrap curl git ss
work=${WORK:-$(mktemp -d /var/tmp/trm-arm64.XXXXXX)}
chmod 755 "$work"
root=$work/root
source=/root/trm-server

# The process on our port: a descendant of $server.
listener() {
    ss -Hltnp "sport = :$port" | grep -oP 'pid=\K[0-9]+'
}

cleanup() {
    if [ -n "$server" ]; then kill -KILL "$(listener)" 2>/dev/null || true; fi
    for mounted in "$root/root/shared" "$root/proc"; do
        if mountpoint -q "$mounted"; then umount -l "$mounted"; fi
    done
    if [ -n "${KEEP:-}" ]; then echo "kept $work"; else rm -rf --one-file-system "$work"; fi
}
trap cleanup EXIT

inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 chroot "$root" sh -c "cd $source && $*"
}

say "a fresh Debian $suite"
[ -d "$root" ] || "$repository/docker/fresh-debian.sh" "$suite" "$root"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
rm -rf "${root:?}$source"
git clone -q --no-local "$repository" "$root$source"
if [ -d "$repository/../shared" ]; then
    mkdir -p "$root/root/shared"
    mount --bind "$repository/../shared" "$root/root/shared"
    mount -o remount,bind,ro "$root/root/shared"
fi
inside "dpkg --add-architecture arm64 && apt-get update -qq && docker/install-deps.sh arm64" >"$work/apt.log" 2>&1 ||
    { tail -n 20 "$work/apt.log"; exit 1; }

say "build"
inside "make -j$(nproc) BUILD=build-arm64 CC=aarch64-linux-gnu-gcc all build-tests" >"$work/build.log" 2>&1 ||
    { tail -n 40 "$work/build.log"; exit 1; }

# Programs by the same names that run the real ones in qemu: what tests/run.sh starts.
# shellcheck disable=SC2016 # expanded inside
inside 'mkdir -p emulated/tests && for program in $(cd build-arm64 && find . -maxdepth 2 -type f -perm -u+x); do
    printf "#!/bin/sh\nexec qemu-aarch64-static $PWD/build-arm64/%s \"\$@\"\n" "$program" >"emulated/$program" &&
    chmod 755 "emulated/$program"; done'
inside 'emulated/trm-server --version'

say "the server"
inside "exec emulated/trm-server --model server/models/sudoku.safetensors --port $port" 2>"$work/server.log" &
server=$!
for _ in $(seq 600); do
    if curl -sf -o /dev/null "localhost:$port/health/ready"; then break; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
done
cat "$work/server.log"
curl -sf "localhost:$port/solve" -d "$puzzle" | grep '"valid":true' || fail "no valid answer"
kill -TERM "$(listener)"
wait "$server" || fail "the server ended with status $?"
server=
grep 'msg="stopped"' "$work/server.log"

say "unit tests and goldens"
inside "tests/run.sh emulated unit parity"

say "done: the programs for arm64 build, serve and pass their tests in qemu"
