#!/bin/sh
# Entrypoint of the images: wsiproc, with the image's compiled kernels where they can be added to.
#
# Compiled code is only used from a folder that can be written, and the root of the image cannot.
# Two megabytes, copied into the scratch space; what is not among them is compiled beside them.
set -eu
home=$(dirname "$(dirname "$0")")
mkdir -p "$NUMBA_CACHE_DIR"
cp -R "$home/kernels/." "$NUMBA_CACHE_DIR/"
exec "$home/bin/wsiproc" "$@"
