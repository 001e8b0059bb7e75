#!/bin/sh
# Install wsiproc from this folder, without a network.
#
#   sh install.sh PREFIX
#
# PREFIX  folder to make, say /opt/wsiproc; the command is then PREFIX/bin/wsiproc
# PYTHON  (environment) the Python to use; the minor version that the bundle was made for
#
# Every file is checked against SHA256SUMS, and pip takes only wheels whose hashes are written down.
# At the end a drawn slide is run, which shows that the engine works here, and compiles its inner
# loops into PREFIX/kernels.
set -eu
umask 022

[ $# -eq 1 ] || { echo "usage: sh install.sh PREFIX" >&2; exit 2; }
case $1 in /*) prefix=$1 ;; *) prefix=$PWD/$1 ;; esac
python=${PYTHON:-python3}
cd "$(dirname "$0")"

[ ! -e "$prefix" ] || { echo "error: $prefix is there already; name a new folder" >&2; exit 2; }

echo "checking files"
sha256sum --check --strict --quiet SHA256SUMS || {
    echo "error: the bundle is damaged; copy it again" >&2
    exit 1
}
wanted=$(sed -n 's/^python \([0-9]*\.[0-9]*\).*/\1/p' MADE_FOR)
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$wanted" = "$found" ] || {
    echo "error: the bundle is for Python $wanted, and $python is $found;" \
        "set PYTHON to a Python $wanted" >&2
    exit 2
}

# What did not come to its end is taken away, so that nobody runs half an installation.
trap '[ -e "$prefix/READY" ] || rm -rf "$prefix"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "installing"
"$python" -m venv "$prefix"
# Nothing that this machine's pip was told, by files or by the environment, may bring in others.
PIP_CONFIG_FILE=/dev/null "$prefix/bin/python" -m pip --isolated install \
    --quiet --disable-pip-version-check --no-index --find-links wheels --only-binary=:all: \
    --require-hashes --requirement requirements.txt
cp MADE_FOR requirements.txt "$prefix/"
cp -R deploy "$prefix/deploy"

echo "trying it on a drawn slide"
trial=$(mktemp -d)
# Generic: compiled kernels then serve every processor of this kind, not only this machine's.
export NUMBA_CACHE_DIR="$prefix/kernels" NUMBA_CPU_NAME=generic
export HOME="$trial" XDG_CACHE_HOME="$trial/cache" XDG_DATA_HOME="$trial/data"
"$prefix/bin/wsiproc" sample "$trial/drawn.tiff" --size 512 512 --mpp 0.5 >/dev/null
for model in unet mcf_detector; do
    "$prefix/bin/wsiproc" run "$trial/drawn.tiff" --model "$model" --workers 0 \
        --out "$trial/$model" --json >"$trial/$model.json"
done
rm -rf "$trial"
chmod -R a+rX "$prefix"
touch "$prefix/READY"
echo "ready: $prefix/bin/wsiproc"
