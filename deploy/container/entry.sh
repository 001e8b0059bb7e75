#!/bin/sh
# Entrypoint of the images: wsiproc (or dask), with the image's compiled kernels at hand.
#
# Compiled code is only used from a folder that can be written, and the root of the image cannot.
# Two megabytes are copied into the scratch space; what is not among them is compiled beside them.
#
# WSIPROC_SUCCESS  exit codes that are turned into 0, "20 124" for example, where who starts the
#                  container knows only success and failure
set -eu
home=$(dirname "$(dirname "$0")")
mkdir -p "$NUMBA_CACHE_DIR"
cp -R "$home/kernels/." "$NUMBA_CACHE_DIR/"

program=wsiproc
if [ "${1:-}" = dask ]; then
    program=dask
    shift
fi
[ -n "${WSIPROC_SUCCESS:-}" ] || exec "$home/bin/$program" "$@"

"$home/bin/$program" "$@" &
child=$!
told=
trap 'told=yes; kill -TERM "$child" 2>/dev/null || true' TERM INT
status=0
wait "$child" || status=$?
# A signal ends `wait`, not the child: it is saving its progress.
while [ -n "$told" ]; do
    told=
    status=0
    wait "$child" || status=$?
done
for fine in $WSIPROC_SUCCESS; do
    [ "$status" -ne "$fine" ] || { echo "exit $status counts as success here" >&2; exit 0; }
done
exit "$status"
