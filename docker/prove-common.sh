# shellcheck shell=bash
# prove-common.sh - what the proofs beside it share: sourced by them.

proof=$(basename "$0" .sh)
# shellcheck disable=SC2034 # used by those who source this
puzzle='{"grid":"53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"}'

fail() {
    echo "$proof: $*" >&2
    exit 1
}

say() {
    printf '\n##### %s (%d s)\n' "$*" $SECONDS
}

# needs PACKAGES PROGRAM...: root, and the programs, which these packages of Debian have.
needs() {
    local packages=$1 program
    shift
    [ "$(id -u)" -eq 0 ] || fail "debootstrap and chroot need root"
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "apt-get install $packages first"
    done
}
