#!/bin/sh
# Installs from Debian the servers that `weir-bench beside` starts itself. Their services do not start: dpkg asks
# policy-rc.d, and 101 means no. One that was there before is put back.
set -eu
packages="victoria-metrics influxdb postgresql"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and left out:$missing (apt-get install as root)" >&2
    exit 0
fi

policy=/usr/sbin/policy-rc.d
put_back() {
    rm -f "$policy"
    if [ -e "$policy.weir" ]; then
        mv "$policy.weir" "$policy"
    fi
}
if [ -e "$policy" ]; then
    mv "$policy" "$policy.weir"
fi
trap put_back EXIT
trap 'exit 1' INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
apt-get update -qq || true
# What can't be installed is told by weir-bench as not available.
for package in $missing; do
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package" || true
done
