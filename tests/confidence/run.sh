#!/bin/sh
# Scores confidence on the shared data sets and on other laws of lateness: run.sh WEIR DATA OUT PLOTS. Tables go to OUT,
# diagrams of the shared data sets to PLOTS; tables.py OUT prints those of docs/confidence.md.
set -eu
weir=$1 data=$2 out=$3 plots=$4
mkdir -p "$out" "$plots"
here=$(dirname "$0")
python3 "$here/convert.py" "$data" "$out"
python3 "$here/laws.py" "$out"
backtest() {
    name=$1 resolution=$2
    for kind in single group; do
        flag=""
        [ "$kind" = single ] || flag=--group
        # shellcheck disable=SC2086
        "$weir" backtest "$out/$name.csv.gz" --resolution "$resolution" $flag --diagram "$out/$name-$kind.svg" \
            > "$out/$name-$kind.txt" 2>&1
        echo "== $name $resolution $kind"
        sed -n '/^agg .* age  *n /,$p' "$out/$name-$kind.txt" | grep -E '^(agg| *[a-z0-9]+ +all )' | uniq
    done
}
for set in "umts 10s" "helium 10m" "quakes 1h" "hospital 1d"; do
    # shellcheck disable=SC2086
    backtest $set
    name=${set% *}
    # Where no answer was calibrated there is nothing to see.
    ! grep -q "^count " "$out/$name-single.txt" || cp "$out/$name-single.svg" "$plots/confidence-$name.svg"
done
for law in lognormal gateways outages uploads events slower pauses corrections; do
    backtest "$law" 1m
done
backtest nightly 1h
