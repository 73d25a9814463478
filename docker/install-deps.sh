#!/bin/sh
# install-deps.sh PURPOSE... - installs the Debian packages that a purpose needs and that are missing.
#
#   build    compiler and the libraries that TRM Server is made with
#   arm64    what makes it and its tests for that, and qemu to run them; apt must know of arm64 packages:
#            dpkg --add-architecture arm64
#   man      what `make man` and `make install` write manual pages with
#   mpi      Open MPI, for `make MPI=1`
#   client   curl, to talk to the server that `make run` starts
#   test     what `make test` runs on top of build
#   lint     what `make lint` runs
#   load     wrk, as a second opinion to the load generator of `make load`
#   plot     gnuplot, for the picture of `make curve`
#   fuzz     clang with libFuzzer, for `make fuzz`
#   peers    what `make bench-peers` makes its virtual environment with; PyTorch compiles C++
#   runtime  the shared libraries alone, for an image of the same Debian as the one that built
#
# Says what it installs before it does; does and says nothing when everything is there.
set -eu

fail() {
    echo "install-deps: $*" >&2
    exit 1
}

# Shared libraries carry their version in the package's name.
runtime_packages() {
    # shellcheck source=/dev/null
    case $(. /etc/os-release && echo "${VERSION_ID:-}") in
    12) echo libuv1 libmicrohttpd12 libgnutls30 libjansson4 libdnnl2 libgomp1 libzip4 libnettle8 ;;
    *) echo libuv1t64 libmicrohttpd12t64 libgnutls30t64 libjansson4 libdnnl3.6 libgomp1 libzip5 libnettle8t64 ;;
    esac
}

libraries='libuv1-dev libmicrohttpd-dev libgnutls28-dev libjansson-dev libdnnl-dev libzip-dev nettle-dev'

packages_for() {
    case $1 in
    build) echo gcc make libc6-dev "$libraries" python3 python3-yaml ;;
    arm64)
        echo gcc-aarch64-linux-gnu qemu-user-static make python3 python3-yaml
        for library in libc6-dev $libraries libcmocka-dev libcurl4-gnutls-dev; do echo "$library:arm64"; done
        ;;
    man) echo help2man ;;
    mpi) echo libopenmpi-dev openmpi-bin ;;
    client) echo curl ;;
    test) echo curl openssl libcmocka-dev libcurl4-gnutls-dev python3 python3-aiohttp python3-httpx python3-jsonschema \
        python3-prometheus-client python3-pytest python3-requests python3-selenium chromium chromium-driver ;;
    load) echo wrk ;;
    plot) echo gnuplot-nox ;;
    fuzz) echo clang libclang-rt-dev ;;
    lint) echo clang-format clang-tidy cppcheck shellcheck ;;
    peers) echo g++ python3-dev python3-venv ;;
    runtime) runtime_packages ;;
    *) return 1 ;;
    esac
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

[ $# -gt 0 ] || fail "usage: $0 build|arm64|man|mpi|client|test|load|plot|fuzz|lint|peers|runtime ..."

wanted=
for purpose in "$@"; do
    packages=$(packages_for "$purpose") || fail "unknown purpose '$purpose'"
    wanted="$wanted $packages"
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    fail "this is not a Debian system. Install by hand, then run plain make:$wanted"
fi

missing=
for package in $wanted; do
    case " $missing " in *" $package "*) continue ;; esac
    is_installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    fail "neither root nor sudo here. As root: apt-get install -y --no-install-recommends$missing"
fi

echo "Installing Debian packages for $*:$missing"
# $as_root and $missing are lists: they must split. sudo drops the environment, env sets it behind it.
# shellcheck disable=SC2086
{
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing
}
