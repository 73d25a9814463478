#!/usr/bin/env bash
# run.sh BUILD GROUP... - runs groups of tests on the programs in BUILD and counts everything.
#
#   unit       every BUILD/tests/test_*
#   fuzz       every FUZZ_BUILD/fuzz/fuzz_* (default: BUILD) on its corpus; where it is libFuzzer's also on
#              a few seconds of new inputs
#   parity     BUILD/tests/parity on ../shared/golden, on both backends; skipped where there are no goldens
#   behaviour  pytest on the real programs, tests/behaviour; TRM_BUILD tells it where they are
#   faults     of these, the tests of clients that leave, checkpoints that change, slots that are shared, logs
#
# A group runs to its end; after one that failed the rest is not run. The last line is
# "N passed, N failed, N skipped", summed over all groups; the exit status is 1 if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

golden=../shared/golden
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# count PASSED FAILED SKIPPED NAME: adds to the totals and prints the line of one program.
count() {
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    local line="$1 passed"
    [ "$2" -eq 0 ] || line+=", $2 FAILED"
    [ "$3" -eq 0 ] || line+=", $3 skipped"
    printf '  %-48s %s\n' "$4" "$line"
}

# cmocka_total RESULT: the sum over the groups of one program, from its summary in the log.
cmocka_total() {
    sed -n "s/^\[  $1 *\] \([0-9]*\) test(s).*/\1/p" "$log" | awk '{ n += $1 } END { print n + 0 }'
}

run_unit() {
    local program status good bad skip
    for program in "$build"/tests/test_*; do
        timeout -k 5 300 "$program" >"$log" 2>&1
        status=$?
        good=$(cmocka_total PASSED) bad=$(cmocka_total FAILED) skip=$(cmocka_total SKIPPED)
        # A program that died, hung or leaked has failed even if it counted no failure.
        [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
        if [ $((good + bad + skip)) -eq 0 ]; then
            echo "ran no test" >>"$log"
            bad=1
        fi
        count "$good" "$bad" "$skip" "${program##*/}"
        if [ "$bad" -gt 0 ]; then
            sed 's/^/    /' "$log"
            echo "    exit status $status"
        elif [ "$skip" -gt 0 ]; then
            grep -i 'skip' "$log" | grep -v '^\[' | sort -u | sed 's/^/    /'
        fi
    done
}

run_fuzz() {
    local program subject status said found
    found=$(mktemp -d) # what libFuzzer finds interesting
    for program in "${FUZZ_BUILD:-$build}"/fuzz/fuzz_*; do
        subject=${program##*/fuzz_}
        timeout -k 5 300 "$program" -max_total_time=4 -seed=1 -timeout=20 -rss_limit_mb=2048 \
            -artifact_prefix="${program%/*}/" "$found" "tests/fuzz/corpus/$subject" >"$log" 2>&1
        status=$?
        said=$(sed -nE 's/^(replayed [0-9]+ inputs|Done [0-9]+ runs).*/\1/p' "$log")
        if [ "$status" -eq 0 ] && [ -n "$said" ]; then
            count 1 0 0 "fuzz $subject: $said"
        else
            count 0 1 0 "fuzz $subject"
            tail -n 40 "$log" | sed 's/^/    /'
            echo "    exit status $status"
        fi
        rm -f "$found"/*
    done
    rmdir "$found"
}

run_parity() {
    local backend file status
    if [ ! -d "$golden" ]; then
        count 0 0 1 "parity: no $golden beside this checkout"
        return
    fi
    if [ ! -x "$build/tests/parity" ]; then
        count 0 1 0 "parity: $build/tests/parity was not built"
        return
    fi
    for backend in onednn reference; do
        for file in "$golden"/infer_*.safetensors "$golden"/train_*.safetensors; do
            status=0
            timeout -k 5 300 "$build/tests/parity" --backend "$backend" "$file" >"$log" 2>&1 || status=$?
            case $status in
            0) count 1 0 0 "$backend ${file##*/}" ;;
            77) count 0 0 1 "$backend ${file##*/}: $(sed -n 's/^ *SKIPPED: //p' "$log")" ;;
            *)
                count 0 1 0 "$backend ${file##*/}"
                sed 's/^/    /' "$log"
                ;;
            esac
        done
    done
}

# pytest_total WORD: the number before WORD in pytest's last line.
pytest_total() {
    tail -n 1 "$log" | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'
}

# run_pytest FILE...: the tests in them, as one line of the totals.
run_pytest() {
    local status good bad skip
    TRM_BUILD=$build timeout -k 5 1800 /usr/bin/python3 -m pytest -q -rs --color=no "$@" 2>&1 | tee "$log"
    status=$?
    good=$(pytest_total passed) skip=$(pytest_total skipped)
    bad=$(($(pytest_total failed) + $(pytest_total error)))
    [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    count "$good" "$bad" "$skip" "tests/behaviour"
}

run_behaviour() {
    run_pytest tests/behaviour
}

run_faults() {
    run_pytest tests/behaviour/test_server_{faults,hangup,life,log,reload,shares,tls}.py
}

[ $# -ge 2 ] || {
    echo "usage: $0 BUILD unit|fuzz|parity|behaviour|faults ..." >&2
    exit 2
}
build=$1
shift

while [ $# -gt 0 ]; do
    echo "== $1"
    case $1 in
    unit | fuzz | parity | behaviour | faults) "run_$1" ;;
    *) echo "no such group" && failed=$((failed + 1)) ;;
    esac
    shift
    [ "$failed" -eq 0 ] || break
done
[ $# -eq 0 ] || echo "== not run after this failure: $*"

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
