#!/usr/bin/env bash
# prove-image.sh - builds the image without a Docker daemon and holds it to its promises: a base image from
# debootstrap, the Dockerfile by buildah, then small, without compiler, unprivileged, healthy, solving and draining,
# also on a root file system that cannot be written.
#
# Needs root, debootstrap, buildah and a Debian mirror; takes apt's mirror and proxy settings from this machine.
# SUITE=bookworm (the default) or trixie chooses the Debian, PORT=N the port, KEEP=1 keeps the storage, WORK=DIR
# goes on with one that was kept, and builds only what it does not hold.
# Exit status 0 only if all of it worked.
set -euo pipefail
# shellcheck source=docker/prove-common.sh
. "$(dirname "$0")/prove-common.sh"

repository=$(realpath "$(dirname "$0")/..")
suite=${SUITE:-bookworm}
port=${PORT:-18080}
most_bytes=150000000

needs "debootstrap buildah curl iproute2" debootstrap buildah curl ss

work=${WORK:-$(mktemp -d /var/tmp/trm-image.XXXXXX)}
chmod 755 "$work"
image() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
server=

cleanup() {
    if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
    for mounted in "$work/sealed/proc" "$work/sealed/dev" "$work/sealed"; do
        if mountpoint -q "$mounted"; then umount -l "$mounted"; fi
    done
    if [ -n "${KEEP:-}" ]; then
        echo "kept $work"
    else
        image rm --all >/dev/null 2>&1 || true
        rm -rf --one-file-system "$work"
    fi
}
trap cleanup EXIT

# What debian:SUITE-slim is: a minimal Debian without documentation, here and in what is installed later.
make_base() {
    local root=$work/base
    "$repository/docker/fresh-debian.sh" "$suite" "$root"
    printf 'path-exclude %s\n' '/usr/share/doc/*' '/usr/share/info/*' '/usr/share/locale/*' '/usr/share/man/*' \
        >"$root/etc/dpkg/dpkg.cfg.d/slim"
    rm -rf "$root"/usr/share/{doc,info,locale,man}/* "$root"/var/{cache/apt,lib/apt/lists,log}/*
    tar -C "$root" -cf "$work/base.tar" .
    rm -rf --one-file-system "$root"
    local container
    container=$(image from scratch)
    image add -q "$container" "$work/base.tar" / >/dev/null
    image config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd bash "$container"
    image commit -q --rm "$container" "$base" >/dev/null
    rm -f "$work/base.tar"
}

# How the image is configured: value PATH, in the template language of Go.
value() {
    image inspect --type image --format "{{$1}}" "trm-server:$suite"
}

# The image's file system, without what the kernel provides.
root_of() {
    image mount "$1"
}

inside() {
    image run --isolation chroot --env "TRM_PORT=$port" "$@"
}

wait_ready() {
    for _ in $(seq 200); do
        if curl -sf -o /dev/null "localhost:$port/health/ready"; then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/server.log"
    fail "the server did not get ready"
}

solves() {
    local answer
    answer=$(curl -sf "localhost:$port/solve" -d "$puzzle")
    echo "$answer"
    grep -q '"valid":true' <<<"$answer" || fail "no valid answer"
}

# Asks the server that listens on our port, a descendant of $server, to end, and wants a clean end.
drains() {
    kill -TERM "$(ss -Hltnp "sport = :$port" | grep -oP 'pid=\K[0-9]+')"
    wait "$server" || fail "the server ended with status $?"
    server=
    grep 'msg="stopped"' "$work/server.log"
}

holds() {
    image inspect --type image "$1" >/dev/null 2>&1
}

base=docker.io/library/debian:$suite-slim
say "a base image from debootstrap $suite"
holds "$base" || make_base

say "build"
holds "trm-server:$suite" ||
    image bud --isolation chroot --format docker --build-arg "SUITE=$suite" -t "trm-server:$suite" "$repository" \
        >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }
image images

say "what is in it"
container=$(image from --pull-never "trm-server:$suite")
root=$(root_of "$container")
bytes=$(du -s --bytes "$root" | cut -f 1)
echo "$((bytes / 1000000)) MB, Debian $(cat "$root/etc/debian_version"), user $(value .OCIv1.Config.User)"
[ "$bytes" -lt $most_bytes ] || fail "larger than $((most_bytes / 1000000)) MB"
[ "$(value .OCIv1.Config.User)" = 65534:65534 ] || fail "not nobody"
found=$(find "$root"/usr/{bin,lib,libexec,local,sbin} ! -type d -regextype egrep \
    -regex '.*/(cc|c\+\+|cc1|(gcc|g\+\+|clang)(-[0-9]+)?|as|ld|make)')
[ -z "$found" ] || fail "it holds a compiler: $found"
[ "$(value .Docker.Config.Healthcheck.Test)" = "[CMD /usr/share/trm-server/healthy]" ] || fail "no HEALTHCHECK"
[ "$(value .OCIv1.Config.Entrypoint)" = "[trm-server]" ] || fail "another entry point"
inside "$container" -- trm-server --version

say "it runs, is healthy, solves, drains"
inside "$container" -- trm-server >"$work/server.log" 2>&1 &
server=$!
wait_ready
inside "$container" -- /usr/share/trm-server/healthy || fail "its HEALTHCHECK says no"
solves
drains
! inside "$container" -- /usr/share/trm-server/healthy 2>/dev/null || fail "its HEALTHCHECK says yes to nobody"

say "the same on a root that nobody can write to"
mkdir -p "$work/sealed"
mount --bind "$root" "$work/sealed"
mount -o remount,bind,ro "$work/sealed"
mount -t proc proc "$work/sealed/proc"
mount --bind /dev "$work/sealed/dev"
mapfile -t variables < <(value 'range .OCIv1.Config.Env}}{{println .}}{{end')
env -i "${variables[@]}" "TRM_PORT=$port" chroot --userspec=65534:65534 "$work/sealed" trm-server >"$work/server.log" 2>&1 &
server=$!
wait_ready
! touch "$work/sealed/tmp/x" 2>/dev/null || fail "the root can be written"
solves
drains

say "done: the image for $suite is $((bytes / 1000000)) MB, runs unprivileged on a sealed root, solves and drains"
