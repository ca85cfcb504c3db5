# SPDX-License-Identifier: Apache-2.0
# Sourced by serve and check, which set $top: how packages get onto the machine, and how a folder gets built.

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "packages are missing: run as root once, or install sudo" >&2
        return 1
    fi
}

is_installed() {
    dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# missing_packages KIND: those of scripts/packages of which no alternative is there.
missing_packages() {
    sed -n "s/^$1 //p" "$top/scripts/packages" | while read -r choice; do
        for package in $(echo "$choice" | tr '|' ' '); do
            is_installed "$package" && continue 2
        done
        echo "${choice%%|*}"
    done
}

# What a package's scripts are told, while ours is in place: start nothing. One that was there before is put aside.
policy=/usr/sbin/policy-rc.d
hold_services() {
    if [ -e $policy ] && ! grep -q 'tranship' $policy; then
        as_root mv $policy $policy.before-tranship || return 1
    fi
    printf '#!/bin/sh\n# Held by tranship while it installs packages.\nexit 101\n' | as_root tee $policy >/dev/null &&
        as_root chmod 755 $policy
}

release_services() {
    as_root rm -f $policy
    [ ! -e $policy.before-tranship ] || as_root mv $policy.before-tranship $policy
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install -y -qq \
        --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confold "$@" >&2
}

all_installed() {
    dpkg-query -W -f='${Package}\n' | sort -u
}

# The units among the files that stdin lists: services, sockets and timers, without templates.
units_among() {
    sed -n 's#^\(/usr\)\{0,1\}/lib/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$#\2#p' | sort -u
}

# Services of what just came must not start with the machine either. $1: what was installed before.
disable_new_services() {
    command -v systemctl >/dev/null || return 0
    all_installed | comm -13 "$1" - | xargs -r dpkg -L 2>/dev/null | units_among | while read -r unit; do
        as_root systemctl --quiet disable "$unit" 2>/dev/null </dev/null || true
    done
}

# install_packages KIND…: does nothing when all are there. Fails if one cannot be had.
install_packages() (
    wanted=$(for kind in "$@"; do missing_packages "$kind"; done | tr '\n' ' ')
    [ -n "$wanted" ] || exit 0
    command -v apt-get >/dev/null || {
        echo "no apt-get here; install these, or what they are called here: $wanted" >&2
        exit 1
    }
    echo "installing: $wanted" >&2
    before=$(mktemp)
    all_installed >"$before"
    trap 'release_services; rm -f "$before"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    hold_services || exit 1
    as_root apt-get update -qq -o DPkg::Lock::Timeout=300 >&2 || echo "apt-get update failed; going on" >&2
    status=0
    # shellcheck disable=SC2086
    if ! apt_install $wanted; then
        for package in $wanted; do
            apt_install "$package" || status=1
        done
    fi
    disable_new_services "$before"
    exit $status
)

# configure_in FOLDER WORD…: again only when it was never done or, with words, when it was done with others.
configure_in() {
    folder=$top/$1
    shift
    [ -x "$top/configure" ] || "$top/autogen.sh" >&2 || return 1
    mkdir -p "$folder"
    if [ -f "$folder/Makefile" ] && { [ $# = 0 ] || [ "$*" = "$(cat "$folder/configured" 2>/dev/null)" ]; }; then
        return 0
    fi
    (cd "$folder" && ../configure -q "$@" && { [ $# = 0 ] || make -s clean; } && echo "$*" >configured) >&2
}

make_in() {
    folder=$top/$1
    shift
    make -s -C "$folder" -j"$(nproc)" "$@"
}
