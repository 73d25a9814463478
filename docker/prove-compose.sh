#!/usr/bin/env bash
# prove-compose.sh - runs compose.yaml in a Docker daemon of its own, on a machine that has none: Debian 13's dockerd
# and docker-compose in a fresh Debian, in namespaces, with the image of prove-image.sh. Images of others cannot be
# had from Debian, so its HAProxy and its Prometheus stand in for haproxy and prom/prometheus; Grafana is left out.
# Shown: everything starts and is healthy, a puzzle is solved, Prometheus sees every server, more replicas are found,
# and no request fails while one is killed (and started again by Docker) and another one is stopped (and drains).
#
# Needs root, debootstrap, buildah and a Debian mirror. SUITE chooses the Debian of the image, IMAGE_WORK=DIR takes it
# from what prove-image.sh kept there, KEEP=1 keeps the fresh Debian, WORK=DIR goes on with one that was kept.
# Exit status 0 only if all of it worked.
set -euo pipefail
# shellcheck source=docker/prove-common.sh
. "$(dirname "$0")/prove-common.sh"

here=$(realpath "$(dirname "$0")")
suite=${SUITE:-bookworm}

# ---- in the fresh Debian, in namespaces of its own ----

compose() {
    docker compose -f /repository/docker/compose.yaml "$@"
}

# until WHAT COMMAND...: waits for it to succeed, for two minutes.
until_true() {
    local what=$1
    shift
    for _ in $(seq 240); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.5
    done
    compose ps -a
    compose logs --tail 20
    fail "waited for $what"
}

solves() {
    [ "$(curl -s -o /dev/null -w '%{http_code}' localhost:8080/solve -d "$puzzle")" = 200 ]
}

# The servers that Prometheus has an answer from.
watched() {
    curl -sf localhost:9090/api/v1/query --data-urlencode 'query=sum(up{job="trm-server"})' |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["result"][0]["value"][1])'
}

watches() {
    [ "$(watched)" = "$1" ]
}

healthy() {
    [ "$(docker ps --quiet --filter health=healthy | wc -l)" = "$1" ]
}

# asks FILE: puzzles, one after the other, until FILE.end is there; writes each status into FILE.
asks() {
    until [ -e "$1.end" ]; do
        curl -s -o /dev/null -w '%{http_code}\n' localhost:8080/solve -d "$puzzle" >>"$1" || true
    done
}

within() {
    local root=$1 name settings asker started services=(trm-server haproxy prometheus)
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mkdir -p "$root/repository" "$root/old"
    mount --bind "$here/.." "$root/repository"
    cd "$root"
    pivot_root . old
    umount -l old
    ip link set lo up
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
    dockerd --log-level warn >/var/log/dockerd.log 2>&1 &
    until_true "dockerd" docker info
    trap 'compose down -v >/dev/null 2>&1; find /sys/fs/cgroup/docker /sys/fs/cgroup/*/docker -depth -type d -delete 2>/dev/null || true' EXIT

    say "$(docker --version), $(docker compose version)"
    docker load -q -i /image.tar
    docker import /debian.tar debian-stand-in
    for name in $(compose config --images); do
        case $name in
        haproxy:*) settings='USER haproxy\nSTOPSIGNAL SIGUSR1' ;;
        prom/prometheus:*) settings='USER 65534\nENTRYPOINT ["prometheus"]' ;;
        *) continue ;;
        esac
        printf 'FROM debian-stand-in\n%b\n' "$settings" | DOCKER_BUILDKIT=0 docker build -q -t "$name" - 2>/dev/null
    done

    say "up"
    REPLICAS=2 compose up -d --no-build --pull never "${services[@]}"
    until_true "healthy servers" healthy 2
    until_true "an answer" solves
    curl -s localhost:8080/solve -d "$puzzle" | grep '"valid":true' || fail "no valid answer"
    until_true "Prometheus to see 2 servers" watches 2

    say "4 replicas"
    compose up -d --no-build --pull never --no-recreate --scale trm-server=4 "${services[@]}"
    until_true "healthy servers" healthy 4
    until_true "Prometheus to see 4 servers" watches 4

    say "one is killed, one is stopped, under load"
    asks /run/statuses &
    asker=$!
    sleep 2
    started=$(docker inspect --format '{{.State.StartedAt}}' trm-trm-server-2)
    kill -KILL "$(docker inspect --format '{{.State.Pid}}' trm-trm-server-2)"
    sleep 2
    docker stop trm-trm-server-1
    until_true "healthy servers" healthy 3
    sleep 2
    touch /run/statuses.end
    wait "$asker"
    sort /run/statuses | uniq -c
    [ "$(sort -u /run/statuses)" = 200 ] || fail "not every request was answered with 200"
    [ "$(docker inspect --format '{{.State.ExitCode}}' trm-trm-server-1)" = 0 ] || fail "that was no clean end"
    [ "$(docker inspect --format '{{.State.StartedAt}}' trm-trm-server-2)" != "$started" ] || fail "not started again"
    compose ps -a --format '{{.Name}}: {{.Status}}'

    say "done: compose.yaml runs, scales, and its clients notice neither crash nor stop"
}

if [ "${1:-}" = --within ]; then
    within "$2"
    exit
fi

# ---- outside ----

needs "debootstrap buildah util-linux" debootstrap buildah unshare
work=${WORK:-$(mktemp -d /var/tmp/trm-compose.XXXXXX)}
chmod 755 "$work"
root=$work/root

cleanup() {
    if mountpoint -q "$root/proc"; then umount -l "$root/proc"; fi
    if [ -n "${KEEP:-}" ]; then echo "kept $work"; else rm -rf --one-file-system "$work"; fi
}
trap cleanup EXIT

if [ -z "${IMAGE_WORK:-}" ]; then
    IMAGE_WORK=$work/image
    mkdir -p "$IMAGE_WORK"
    WORK=$IMAGE_WORK KEEP=1 "$here/prove-image.sh"
fi

make_debian() {
    "$here/fresh-debian.sh" trixie "$root"
    cp /etc/resolv.conf "$root/etc/"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # starts nothing
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mount -t proc proc "$root/proc"
    chroot "$root" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
        --no-install-recommends docker.io docker-cli docker-compose haproxy prometheus iproute2 iptables curl python3 &&
        apt-get clean' >"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log"; exit 1; }
    umount "$root/proc"
    mkdir "$root/prometheus"
    chown 65534:65534 "$root/prometheus"
}

say "a fresh Debian with Docker, HAProxy and Prometheus"
[ -d "$root" ] || make_debian
# Without what the daemon alone needs.
tar -C "$root" -cf "$work/debian.tar" --exclude='./usr/*bin/*docker*' --exclude='./usr/*bin/containerd*' \
    --exclude=./usr/libexec/docker --exclude=./var/lib/docker --exclude=./var/lib/apt --exclude=./usr/share/doc \
    --exclude='./*.tar' .
mv "$work/debian.tar" "$root/"
rm -f "$root/image.tar"
buildah --root "$IMAGE_WORK/storage" --runroot "$IMAGE_WORK/run" --storage-driver vfs push -q "trm-server:$suite" \
    "docker-archive:$root/image.tar:trm-server:latest"

unshare --mount --net --pid --ipc --uts --fork --kill-child "$here/prove-compose.sh" --within "$root"
