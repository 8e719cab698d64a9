#!/bin/sh
# Runs every fuzz target FUZZ_RUNS times (default ten million), from its seeds; what it finds lies in fuzz/incoming/artifacts then.
# cargo-fuzz is installed below the target directory where it is missing. The compiler is the stable one: it is told to accept
# the options of libFuzzer.
set -eu
cd "$(dirname "$0")"
target="${CARGO_TARGET_DIR:-$(pwd)/../target}"
tools="$target/tools"
[ -x "$tools/bin/cargo-fuzz" ] || cargo install --quiet --locked --root "$tools" cargo-fuzz --version 0.13.2
export PATH="$tools/bin:$PATH" CARGO_TARGET_DIR="$target/fuzz" RUSTC_BOOTSTRAP=1
runs="${FUZZ_RUNS:-10000000}"
for name in $(cargo fuzz list --fuzz-dir incoming); do
    mkdir -p "incoming/corpus/$name"
    seeds=""
    [ ! -d "incoming/seeds/$name" ] || seeds="incoming/seeds/$name"
    echo "== $name"
    # shellcheck disable=SC2086 # no seeds, no argument
    cargo fuzz run --fuzz-dir incoming "$name" "incoming/corpus/$name" $seeds -- \
        -runs="$runs" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 2>&1 |
        tee "incoming/corpus/$name.log" | grep -E "stat::|ERROR|panicked|SUMMARY" || true
    if grep -qE "ERROR|panicked|SUMMARY" "incoming/corpus/$name.log" || ! grep -q "stat::" "incoming/corpus/$name.log"; then
        echo "$name failed: see fuzz/incoming/artifacts/$name" >&2
        exit 1
    fi
done
