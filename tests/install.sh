#!/bin/sh
# Installs from Debian what tests need beside the toolchain. Where it can't, the tests that need it say that they were skipped.
set -eu
if command -v openssl >/dev/null && command -v xfs_io >/dev/null && command -v mkfs.xfs >/dev/null && command -v mkfs.ext4 >/dev/null; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed: xfsprogs, e2fsprogs, openssl (apt-get install as root); power cuts, TLS are not tested" >&2
    exit 0
fi
apt-get update -qq || true
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends xfsprogs e2fsprogs mount openssl >/dev/null ||
    echo "xfsprogs, e2fsprogs and openssl can't be installed; power cuts, TLS are not tested" >&2
