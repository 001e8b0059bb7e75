#!/bin/sh
# Collect all that wsiproc needs on a machine without a network, into one tar file.
#
#   sh deploy/bundle/make.sh DIST [EXTRAS]
#
# DIST    folder of the tar file
# EXTRAS  extras of wsiproc to take along, "openvino" by default
# PYTHON  (environment) the Python to collect for: the target needs the same minor version
#
# Needs a package index, where your pip is told to look.  What it got is written down with hashes,
# and install.sh takes nothing else.
set -eu
umask 022

source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
dist=$(cd "$1" && pwd)
extras=${2:-openvino}
python=${PYTHON:-python3}

stage=$(mktemp -d "$dist/.bundle-XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The wheel is built from a copy, so that it holds what is in the source and nothing that an earlier
# build left beside it; and nothing is left beside the source.
mkdir "$stage/source" "$stage/wheels"
(cd "$source" && tar -cf - --exclude=__pycache__ --exclude='*.egg-info' \
    pyproject.toml README.md LICENSE wsiproc plugins) | tar -xf - -C "$stage/source"
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$stage/wheels" "$stage/source"
own=$(ls "$stage/wheels")
version=$(echo "$own" | cut -d- -f2)

# Wheels only: a source package would run its own set-up on the target.
"$python" -m pip download --quiet --only-binary=:all: --constraint "$source/constraints.txt" \
    --dest "$stage/wheels" "$stage/wheels/$own${extras:+[$extras]}"

name=wsiproc-bundle-$version
mkdir "$stage/$name"
mv "$stage/wheels" "$stage/$name/wheels"
cd "$stage/$name"
for wheel in wheels/*.whl; do
    file=${wheel#wheels/}
    project=${file%%-*}
    rest=${file#*-}
    digest=$(sha256sum "$wheel" | cut -d' ' -f1)
    echo "$project==${rest%%-*} --hash=sha256:$digest"
done >requirements.txt
"$python" -c 'import platform, sysconfig
print(f"python {platform.python_version()}\nplatform {sysconfig.get_platform()}")' >MADE_FOR
cp "$source/deploy/bundle/install.sh" "$source/deploy/bundle/README.md" "$source/LICENSE" .
cp -R "$source/deploy" deploy
find . -type f ! -name SHA256SUMS -print | LC_ALL=C sort | sed 's|^\./||' |
    while read -r file; do sha256sum "$file"; done >SHA256SUMS

cd "$stage"
# Sorted, without owners and times of this machine: the same wheels give the same bytes.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$name.tar" "$name"
mv "$name.tar" "$dist/$name.tar"
(cd "$dist" && sha256sum "$name.tar" >"$name.tar.sha256" && cat "$name.tar.sha256")
