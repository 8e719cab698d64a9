#!/bin/sh
# Writes what a release consists of, as CycloneDX, to target/sbom. cargo-cyclonedx is installed below the target directory
# where it is missing.
set -eu
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-$(pwd)/target}"
tools="$target/tools"
[ -x "$tools/bin/cargo-cyclonedx" ] || cargo install --quiet --locked --root "$tools" cargo-cyclonedx --version 0.5.9
PATH="$tools/bin:$PATH" cargo cyclonedx --format json --manifest-path weir/Cargo.toml --target x86_64-unknown-linux-gnu --override-filename weir.cdx
mkdir -p "$target/sbom"
find . -name 'weir.cdx.json' -not -path './target/*' | while read -r file; do
    case "$file" in
        ./weir/*) mv "$file" "$target/sbom/weir.cdx.json" ;;
        *) rm "$file" ;;
    esac
done
echo "$target/sbom/weir.cdx.json"
