#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs the compiler's module files, of which Meson does not know before they are there.
#
#     install-modules.sh DIRECTORY WHERE
set -eu
where=${DESTDIR-}$MESON_INSTALL_PREFIX/$2
case $2 in /*) where=${DESTDIR-}$2 ;; esac
mkdir -p "$where"
for module in "$1"/shmcore*.mod; do
    [ -n "${MESON_INSTALL_QUIET-}" ] || echo "Installing $module to $where"
    install -m 644 "$module" "$where"
done
