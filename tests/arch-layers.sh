#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The layers of the house: who includes whom. The rules are in arch-layers.py; TAP on standard output.
#
#     tests/arch-layers.sh SOURCE_ROOT BUILD_DIR
set -u

if [ $# != 2 ] || [ ! -f "$1/core/base.h" ] || [ ! -d "$2" ]; then
    printf 'usage: arch-layers.sh SOURCE_ROOT BUILD_DIR\n' >&2
    exit 2
fi
exec python3 "$(dirname "$0")/arch-layers.py" "$1" "$2"
