#!/bin/sh
# Installs from Debian what tests need beside the toolchain. Where it can't, the tests that need it say that they were skipped.
set -eu
# moto, an S3 server of PyPI, below the target directory.
s3="${CARGO_TARGET_DIR:-target}/s3-venv"
if [ ! -x "$s3/bin/moto_server" ]; then
    { python3 -m venv "$s3" && "$s3/bin/pip" install --quiet 'moto[server]==5.2.5'; } ||
        echo "not installed: moto (PyPI, with python3-venv); histories in S3 are not tested" >&2
fi
if command -v xfs_io >/dev/null && command -v mkfs.xfs >/dev/null && command -v mkfs.ext4 >/dev/null; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed: xfsprogs, e2fsprogs (apt-get install as root); power cuts are not tested" >&2
    exit 0
fi
apt-get update -qq || true
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends xfsprogs e2fsprogs mount >/dev/null ||
    echo "xfsprogs and e2fsprogs can't be installed; power cuts are not tested" >&2
