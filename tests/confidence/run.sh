#!/bin/sh
# Scores confidence on the shared data sets: run.sh WEIR DATA OUT PLOTS. Tables go to OUT, diagrams to PLOTS.
set -eu
weir=$1 data=$2 out=$3 plots=$4
mkdir -p "$out" "$plots"
python3 "$(dirname "$0")/convert.py" "$data" "$out"
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
    cp "$out/$name-single.svg" "$plots/confidence-$name.svg"
}
backtest umts 10s
backtest helium 10m
backtest quakes 1h
backtest hospital 1d
