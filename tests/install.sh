#!/bin/sh
# Installs from Debian what tests need beside the toolchain. Where it can't, the tests that need it say that they were skipped.
set -eu

# Installs packages where one of these programs is missing, or a part of one that this command needs, and says what is not
# tested otherwise.
need() {
    programs=$1 packages=$2 untested=$3 works=${4:-:} missing=""
    for program in $programs; do
        command -v "$program" >/dev/null || missing="$missing $program"
    done
    [ -n "$missing" ] || ! sh -c "$works" >/dev/null 2>&1 || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "not installed: $packages (apt-get install as root); not tested: $untested" >&2
        return 0
    fi
    apt-get update -qq || true
    # shellcheck disable=SC2086 # several packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
        echo "can't be installed: $packages; not tested: $untested" >&2
}

need "cc" "gcc libc6-dev" "calls that fail"
need "xfs_io mkfs.xfs mkfs.ext4 mount" "xfsprogs e2fsprogs mount" "power cuts and full disks"
need "nbdkit nbdfuse fusermount3" "nbdkit nbdkit-plugin-python libnbd-bin fuse3" "power cuts block by block" \
    "nbdkit python --version"
need "openssl" "openssl" "TLS"

# moto, an S3 server of PyPI, below the target directory.
s3="${CARGO_TARGET_DIR:-target}/s3-venv"
if [ ! -x "$s3/bin/moto_server" ]; then
    need "python3" "python3 python3-venv" "histories in S3" "python3 -c 'import ensurepip'"
    { python3 -m venv "$s3" && "$s3/bin/pip" install --quiet 'moto[server]==5.2.5'; } ||
        echo "not installed: moto (PyPI, with python3-venv); not tested: histories in S3" >&2
fi
