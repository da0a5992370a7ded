#!/bin/sh
# Install the Debian packages named, those that are missing, when this user may (root, or sudo without a question).
# Says what it would need and ends with 0 where it may not: what needs them says so itself when it is run.
set -eu
missing=""
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "setup: not a Debian system, please install yourself:$missing" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "setup: may not install Debian packages (neither root nor sudo):$missing" >&2
    exit 0
fi
echo "setup: installing Debian packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086  # words on purpose
if { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    rm -f "$log"
else
    tail -5 "$log" >&2
    echo "setup: apt-get failed, its words are in $log" >&2
fi
