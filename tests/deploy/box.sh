#!/bin/sh
# What a container runtime would do, with nothing but util-linux: run a command
#
#   BOX=folder sh box.sh INSTALLED ROOT [NAME=VALUE...] COMMAND...
#
# as 10001:10001, on a read-only root, without a network but the loopback, without capabilities and
# new privileges, with a noexec tmpfs on /tmp.  INSTALLED stands at /opt/wsiproc.  ROOT holds the
# folders slides, out, state and config, mounted as compose.yaml mounts them.  Needs root.
set -eu
installed=$1
given=$2
shift 2
: "${BOX:?an empty folder}"
export installed given BOX
exec unshare --mount --net --pid --ipc --uts --fork --kill-child sh -euc '
    ip link set lo up
    mount --make-rprivate /
    mount -t tmpfs -o mode=0755 box "$BOX"
    readable() { # from, to
        mkdir -p "$BOX$2"
        mount --bind "$1" "$BOX$2"
        mount -o remount,bind,ro,nosuid "$BOX$2"
    }
    for folder in /usr /etc /bin /sbin /lib /lib64; do
        if [ -L "$folder" ]; then cp -P "$folder" "$BOX$folder"
        elif [ -d "$folder" ]; then readable "$folder" "$folder"; fi
    done
    readable "$installed" /opt/wsiproc
    readable "$given/slides" /slides
    readable "$given/config" /config
    mkdir -p "$BOX/out" "$BOX/state" "$BOX/tmp" "$BOX/proc" "$BOX/dev"
    mount --bind "$given/out" "$BOX/out"
    mount --bind "$given/state" "$BOX/state"
    mount -t tmpfs -o noexec,nosuid,nodev,size=2g,mode=1777 scratch "$BOX/tmp"
    mount -t proc proc "$BOX/proc"
    mkdir "$BOX/sys"
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$BOX/sys"
    mount -t tmpfs -o nosuid,noexec,mode=0755 dev "$BOX/dev"
    for device in null zero full random urandom; do
        : >"$BOX/dev/$device"
        mount --bind "/dev/$device" "$BOX/dev/$device"
    done
    mkdir "$BOX/dev/shm"
    mount -t tmpfs -o nosuid,nodev,noexec,size=64m,mode=1777 shm "$BOX/dev/shm"
    mount -o remount,ro "$BOX/dev"
    mount -o remount,ro "$BOX"
    cd "$BOX"
    exec chroot "$BOX" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \
        --bounding-set=-all --inh-caps=-all env -i "$@"
' box "$@"
