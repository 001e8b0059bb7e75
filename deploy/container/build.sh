#!/bin/sh
# Inside an image: install wsiproc from the source beside this file.
#
#   sh deploy/container/build.sh PREFIX EXTRAS
#
# A bundle in dist/ is taken as it is, and no network is needed; else one is made first.
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

set -- "$1" "$2" "$source"/dist/wsiproc-bundle-*.tar
if [ ! -f "$3" ]; then
    sh "$source/deploy/bundle/make.sh" "$work/dist" "$2"
    set -- "$1" "$2" "$work"/dist/wsiproc-bundle-*.tar
fi
[ $# -eq 3 ] || { echo "error: dist/ holds several bundles; leave one" >&2; exit 2; }
tar -xf "$3" -C "$work"
sh "$work"/wsiproc-bundle-*/install.sh "$1"
install -m 0755 "$source/deploy/container/entry.sh" "$1/bin/wsiproc-container"
