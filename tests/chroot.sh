#!/usr/bin/env bash
# chroot.sh [REPOSITORY] - proves the newcomer's path on a machine that has nothing but make and git:
# a fresh Debian (debootstrap), a clone of REPOSITORY's HEAD (default: this one), `make run` and the curl line
# it prints, Ctrl-C, `make test`. The clone gets ../shared, read-only, if this checkout has one.
#
# Needs root, debootstrap and a Debian mirror; takes apt's mirror and proxy settings from this machine.
# SUITE=bookworm (the default: Debian 12, oneDNN 2.6) or trixie (Debian 13, oneDNN 3.7) chooses the Debian,
# PORT=N moves the server off 8080, KEEP=1 keeps the chroot. Exit status 0 only if all of it worked.
set -euo pipefail

repository=$(realpath "${1:-$(dirname "$0")/..}")
suite=${SUITE:-bookworm}
port=${PORT:-8080}
shared=$repository/../shared

[ "$(id -u)" -eq 0 ] || { echo "chroot.sh: debootstrap and chroot need root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "chroot.sh: apt-get install debootstrap first" >&2; exit 1; }

root=$(mktemp -d /var/tmp/trm-chroot.XXXXXX)
chmod 755 "$root" # apt downloads as a user of its own
server=

cleanup() {
    if [ -n "$server" ]; then kill -TERM -- "-$server" 2>/dev/null || true; fi
    for mounted in "$root/root/shared" "$root/dev/pts" "$root/proc"; do
        if mountpoint -q "$mounted"; then umount -l "$mounted"; fi
    done
    if [ -n "${KEEP:-}" ]; then
        echo "kept $root"
    else
        rm -rf --one-file-system "$root"
    fi
}
trap cleanup EXIT

# Leaves out what apt, dpkg and the compiler say line by line.
without_noise() {
    grep -vE '^(Selecting|Preparing|Unpacking|Setting up|\(Reading|Processing|Updating|Running|done\.|[0-9]+ added|  CC |  LINK )'
}

say() {
    printf '\n##### %s (%d s)\n' "$*" $SECONDS
}

# inside DIR COMMAND: as a person logged in there would run it.
inside() {
    local dir=$1
    shift
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} no_proxy=localhost,127.0.0.1 \
        chroot "$root" sh -c "cd $dir && $*"
}

say "debootstrap $suite"
"$(dirname "$0")/../docker/fresh-debian.sh" "$suite" "$root"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mount -t proc proc "$root/proc"
mount -t devpts devpts "$root/dev/pts"

say "make and git, a clone"
inside / 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends make git' \
    >"$root/root/prepare.log" 2>&1 || { tail -n 20 "$root/root/prepare.log"; exit 1; }
git clone -q --no-local "$repository" "$root/root/trm-server"
git -C "$root/root/trm-server" log -1 --oneline
if [ -d "$shared" ]; then
    mkdir "$root/root/shared"
    mount --bind "$shared" "$root/root/shared"
    mount -o remount,bind,ro "$root/root/shared"
fi

say "make run"
run_log=$root/root/run.log
arguments=
[ "$port" = 8080 ] || arguments="PORT=$port"
set -m # the server gets a process group of its own, so that Ctrl-C can be played
inside /root/trm-server "exec make run $arguments" >"$run_log" 2>&1 &
server=$!
set +m

# The line is typed as printed. Until the packages are there, there is neither a line nor a curl.
answer=
for ((i = 0; i < 1800; i++)); do
    kill -0 "$server" 2>/dev/null || break
    curl_line=$(grep -m 1 -oE 'curl -s localhost:.*' "$run_log" || true)
    if [ -n "$curl_line" ] && answer=$(inside / "$curl_line"); then break; fi
    sleep 1
done
without_noise <"$run_log"
say "the answer"
echo "$answer"
grep -qE '"valid": *true' <<<"$answer" || { echo "chroot.sh: no valid answer" >&2; exit 1; }

say "Ctrl-C"
kill -INT -- "-$server"
wait "$server" || true
server=
if inside / "curl -s -o /dev/null localhost:$port/health/live"; then
    echo "chroot.sh: the server outlived Ctrl-C" >&2
    exit 1
fi

say "make test"
inside /root/trm-server 'exec make test' </dev/null 2>&1 | without_noise

say "done: make run, the curl and make test work on a fresh $suite"
