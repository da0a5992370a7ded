#!/bin/sh
# Install pegcount as a service on Debian 12 or newer, from a checkout; run it again to upgrade.
#   packaging/install.sh                       install or upgrade
#   packaging/install.sh --with EXTRA,EXTRA    also what only some need: postgres, nats, kafka, sftp, parquet; upgrades keep them
#   packaging/install.sh --uninstall           remove the program; keep ledger, configuration and user
#   packaging/install.sh --uninstall --purge   remove these too
#   packaging/install.sh --download FOLDER     fetch all Python packages that an installation needs into FOLDER
# Python packages come from the index that pip is set to, and must have the hashes of requirements.lock. For a machine that
# reaches none: --download on another one with the same Python, then PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER packaging/install.sh
#
# Laws
# - A release is installed whole under /opt/pegcount/releases and then switched to by one rename; one that fails on the way
#   changes nothing that runs. The release before stays, to go back to.
# - A running agent is not restarted into a release that refuses its configuration.
# - Configuration, ledger and drop-ins of systemd are never overwritten.
set -eu

NAME=pegcount
HOME_DIR=/opt/pegcount
CONFIG_DIR=/etc/pegcount
STATE_DIR=/var/lib/pegcount
UNIT_DIR=/etc/systemd/system
UNITS="pegcount.service pegcount-hep.socket pegcount-capture.service"
CAPTURE=pegcount-capture
COMMAND=/usr/local/bin/pegcount
CHECKOUT=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES="agent collectors uplink"

say() { echo "pegcount: $*"; }
die() { echo "pegcount: $*" >&2; exit 1; }
usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; }

needs() {
    [ "$(id -u)" = 0 ] || die "must be run by root (sudo packaging/install.sh)"
    command -v systemctl >/dev/null || die "this machine has no systemd"
}

find_python() {
    for python in /usr/bin/python3 python3; do
        command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && break
        python=""
    done
    [ -n "$python" ] || die "needs Python 3.11 or newer: apt-get install python3"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || die "needs Python's venv: apt-get install python3-venv"
}

make_users() {
    if ! getent passwd "$NAME" >/dev/null; then
        adduser --system --group --quiet --no-create-home --home "$STATE_DIR" --gecos "pegcount metering agent" "$NAME"
        say "made the user $NAME"
    fi
    if ! getent passwd "$CAPTURE" >/dev/null; then
        adduser --system --ingroup "$NAME" --quiet --no-create-home --home /nonexistent \
            --gecos "pegcount packet capture" "$CAPTURE"
        say "made the user $CAPTURE"
    fi
}

pip_install() {  # PYTHON ARGUMENTS...
    python_in=$1
    shift
    "$python_in" -m pip install --quiet --disable-pip-version-check --no-cache-dir "$@"
}

# Of the lock of the development tools, in which everything is pinned, the lines of these packages.
locked() {  # PACKAGES...
    awk -v names=" $* " '/^[^ ]/ { split($0, name, /==|\[/); wanted = index(names, " " name[1] " ") } wanted' \
        "$CHECKOUT/requirements-dev.lock"
}

build_requirements() { locked setuptools; }

packages_of() {  # EXTRA: what it needs beyond requirements.lock
    case $1 in
        postgres) echo asyncpg ;;
        nats) echo nats-py nkeys pynacl ;;
        kafka) echo confluent-kafka ;;
        sftp) echo asyncssh ;;
        parquet) echo pyarrow ;;
        *) die "there is no extra $1: it is one of postgres, nats, kafka, sftp, parquet" ;;
    esac
}

choose_extras() {  # those that were asked for, or those that the release before had
    [ -n "$extras" ] || extras=$(cat "$HOME_DIR/current/extras" 2>/dev/null || true)
    extra_packages=""
    for extra in $extras; do extra_packages="$extra_packages $(packages_of "$extra")" || exit 1; done
}

# Building in a copy leaves the checkout as it is.
build_wheel() {  # FOLDER
    mkdir "$1/source"
    for part in $PACKAGES pyproject.toml README.md LICENSE; do cp -r "$CHECKOUT/$part" "$1/source/"; done
    "$python" -m venv "$1/builder"
    build_requirements >"$1/build.lock"
    pip_install "$1/builder/bin/python" --require-hashes -r "$1/build.lock"
    "$1/builder/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --wheel-dir "$1/wheel" "$1/source"
}

download() {
    find_python
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$python" -m venv "$work/venv"
    build_requirements >"$work/build.lock"
    choose_extras
    # shellcheck disable=SC2086  # words are meant
    locked $extra_packages >"$work/extras.lock"
    for lock in "$CHECKOUT/requirements.lock" "$work/build.lock" "$work/extras.lock"; do
        [ -s "$lock" ] || continue
        "$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
            --dest "$folder" --no-deps -r "$lock"
    done
    say "packages for $("$python" --version) are in $folder"
}

install_release() {
    work=$(mktemp -d)
    release=$HOME_DIR/releases/$(date -u +%Y%m%dT%H%M%SZ)-$$
    trap 'rm -rf "$work"' EXIT
    trap 'rm -rf "$work" "$release"; exit 1' HUP INT TERM
    build_wheel "$work"
    mkdir -p "$HOME_DIR/releases"
    if ! make_release; then
        rm -rf "$release"
        die "the release could not be installed; nothing was changed"
    fi
    rm -rf "$work"
}

make_release() {
    "$python" -m venv "$release" &&
        pip_install "$release/bin/python" --require-hashes -r "$CHECKOUT/requirements.lock" &&
        pip_install "$release/bin/python" --no-deps --no-index "$work"/wheel/*.whl &&
        install_extras &&
        mkdir -p "$release/share/doc/$NAME" &&
        cp -r "$CHECKOUT/docs/." "$CHECKOUT/LICENSE" "$CHECKOUT/CHANGELOG.md" "$release/share/doc/$NAME/" &&
        "$release/bin/pegcount" --version >/dev/null
}

install_extras() {
    [ -n "$extras" ] || return 0
    # shellcheck disable=SC2086  # words are meant
    locked $extra_packages >"$work/extras.lock" &&
        pip_install "$release/bin/python" --require-hashes --no-deps -r "$work/extras.lock" &&
        echo "$extras" >"$release/extras"
}

check_running_configuration() {
    systemctl --quiet is-active "$NAME.service" || return 0
    if ! "$release/bin/pegcount" check --config "$CONFIG_DIR/pegcount.toml"; then
        rm -rf "$release"
        die "this release refuses the configuration; the running agent was left as it is"
    fi
}

switch_to_release() {
    before=$(readlink "$HOME_DIR/current" || true)
    ln -s "$release" "$HOME_DIR/current.new"
    mv -T "$HOME_DIR/current.new" "$HOME_DIR/current"
    ln -sfn "$HOME_DIR/current/bin/pegcount" "$COMMAND"
    for old in "$HOME_DIR"/releases/*; do
        [ "$old" = "$release" ] || [ "$old" = "$before" ] || rm -rf "$old"
    done
}

write_configuration() {
    install -d -o root -g "$NAME" -m 0750 "$CONFIG_DIR"
    [ -e "$CONFIG_DIR/pegcount.toml" ] && return
    install -o root -g "$NAME" -m 0640 "$CHECKOUT/packaging/pegcount.toml" "$CONFIG_DIR/pegcount.toml"
    say "wrote an example to $CONFIG_DIR/pegcount.toml"
}

write_units() {
    for unit in $UNITS; do install -m 0644 "$CHECKOUT/packaging/systemd/$unit" "$UNIT_DIR/$unit"; done
    systemctl daemon-reload
}

install_all() {
    find_python
    choose_extras
    make_users
    install_release
    check_running_configuration
    write_configuration
    switch_to_release
    write_units
    systemctl try-restart "$CAPTURE.service"
    if systemctl --quiet is-active "$NAME.service"; then
        systemctl restart "$NAME.service"
        say "upgraded and restarted: $("$COMMAND" --version)"
    else
        say "installed: $("$COMMAND" --version). What is left to do:"
        what_is_left
    fi
}

what_is_left() {
    cat <<END
  1. Edit $CONFIG_DIR/pegcount.toml, then: pegcount check
  2. Where the agent must read files of another group (Asterisk's CDR files):
       systemctl edit $NAME        and write:  [Service]
                                               SupplementaryGroups=asterisk
  3. Where there is a source of kind "hep":  systemctl enable --now pegcount-hep.socket
  4. Where there is a live source of kind "sip" (interface = ...):  systemctl enable --now $CAPTURE
  5. systemctl enable --now $NAME
  6. pegcount status, or http://127.0.0.1:8042 in a browser on this machine
END
}

uninstall() {
    for unit in pegcount-hep.socket pegcount.service "$CAPTURE.service"; do
        [ -e "$UNIT_DIR/$unit" ] || continue
        systemctl --quiet disable --now "$unit"
        rm -f "$UNIT_DIR/$unit"
    done
    systemctl daemon-reload
    systemctl reset-failed "$NAME.service" pegcount-hep.socket "$CAPTURE.service" 2>/dev/null || true
    rm -rf "$HOME_DIR"
    if [ "$(readlink "$COMMAND" || true)" = "$HOME_DIR/current/bin/pegcount" ]; then rm -f "$COMMAND"; fi
    say "removed the program"
    if [ -z "$purge" ]; then
        say "kept $CONFIG_DIR, $STATE_DIR and the users $NAME and $CAPTURE (--purge removes these too)"
        return
    fi
    rm -rf "$CONFIG_DIR" "$STATE_DIR" "$UNIT_DIR/pegcount.service.d" "$UNIT_DIR/pegcount-hep.socket.d" \
        "$UNIT_DIR/$CAPTURE.service.d"
    for user in "$CAPTURE" "$NAME"; do if getent passwd "$user" >/dev/null; then userdel "$user"; fi; done
    systemctl daemon-reload
    say "removed configuration, ledger and users"
}

action=install_all
purge=""
extras=""
while [ $# -gt 0 ]; do
    case $1 in
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        --download)
            [ -n "${2:-}" ] || die "--download needs a folder"
            action=download
            folder=$2
            shift
            ;;
        --with)
            [ -n "${2:-}" ] || die "--with needs extras"
            extras=$(echo "$2" | tr , ' ')
            for extra in $extras; do packages_of "$extra" >/dev/null; done
            shift
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die "unknown argument: $1" ;;
    esac
    shift
done
if [ -n "$purge" ] && [ "$action" != uninstall ]; then die "--purge goes with --uninstall"; fi
[ "$action" = download ] || needs
$action
