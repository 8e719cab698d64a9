#!/bin/sh
# Runs every fuzz target FUZZ_RUNS times (default ten million), from its seeds; what it finds lies in fuzz/*/artifacts then.
# FUZZ_ONLY names the crates (incoming, stored), FUZZ_SECONDS bounds each target's time. cargo-fuzz is installed below the
# target directory where it is missing. The compiler is the stable one: it is told to accept the options of libFuzzer.
set -eu
cd "$(dirname "$0")"
target="${CARGO_TARGET_DIR:-$(pwd)/../target}"
tools="$target/tools"
[ -x "$tools/bin/cargo-fuzz" ] || cargo install --quiet --locked --root "$tools" cargo-fuzz --version 0.13.2
export PATH="$tools/bin:$PATH" CARGO_TARGET_DIR="$target/fuzz" RUSTC_BOOTSTRAP=1
runs="${FUZZ_RUNS:-10000000}"
for crate in ${FUZZ_ONLY:-incoming stored}; do
    # What a forged page of Parquet says of its own length is set aside before it is read.
    memory=1024
    [ "$crate" != stored ] || memory=6144
    for name in $(cargo fuzz list --fuzz-dir "$crate"); do
        mkdir -p "$crate/corpus/$name"
        seeds=""
        [ ! -d "$crate/seeds/$name" ] || seeds="$crate/seeds/$name"
        echo "== $name"
        # shellcheck disable=SC2086 # no seeds, no argument
        cargo fuzz run --fuzz-dir "$crate" "$name" "$crate/corpus/$name" $seeds -- -runs="$runs" \
            -max_total_time="${FUZZ_SECONDS:-0}" -max_len=4096 -timeout=10 -rss_limit_mb="$memory" -print_final_stats=1 2>&1 |
            tee "$crate/corpus/$name.log" | grep -E "stat::|ERROR|panicked|SUMMARY" || true
        if grep -qE "ERROR|panicked|SUMMARY" "$crate/corpus/$name.log" || ! grep -q "stat::" "$crate/corpus/$name.log"; then
            echo "$name failed: see fuzz/$crate/artifacts/$name" >&2
            exit 1
        fi
    done
done
