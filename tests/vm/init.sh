#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First process of a lab guest: makes the host's root writable under an overlay, prepares a
# usual Linux system in it and becomes /run/damos-lab/first.sh there, which ends with poweroff.
#
# In the initramfs: /order (modules to load, one path a line), /shares (tag and path a line),
# /rebinds (paths below a hidden directory that must stay visible, one a line).

export PATH=/bin
root=/newroot

fail() {
    echo "lab: init failed: $*"
    /bin/busybox poweroff -f
}

/bin/busybox mkdir -p /proc /sys /dev /lower /upper $root
/bin/busybox --install -s /bin
mount -t proc proc /proc || fail proc
mount -t sysfs sysfs /sys || fail sysfs
mount -t devtmpfs devtmpfs /dev 2>/dev/null

while read -r module; do
    insmod "$module" || fail "insmod $module"
done </order

mount -t virtiofs -o ro rootfs /lower || fail "root share"
if grep -qw overlay /proc/filesystems; then
    mount -t tmpfs -o mode=755 upper /upper || fail upper
    mkdir /upper/data /upper/work
    mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root $root ||
        fail overlay
else
    echo "lab: this kernel came without modules: the root stays read-only"
    mount --bind /lower $root || fail bind
fi

# A second view of the tree keeps what the mounts below hide.
mkdir /view
mount --bind $root /view
for directory in tmp run var/tmp; do
    mount -t tmpfs -o mode=1777 tmpfs $root/$directory || fail "tmpfs $directory"
done
chmod 755 $root/run
while read -r path; do
    mkdir -p "$root$path" && mount --bind "/view$path" "$root$path" || fail "bind $path"
done </rebinds

mount --move /proc $root/proc
mount --move /sys $root/sys
mount --move /dev $root/dev
mkdir -p $root/dev/pts $root/dev/shm $root/run/lock
mount -t devpts -o mode=620,ptmxmode=666 devpts $root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs $root/dev/shm
for link in "fd:/proc/self/fd" "stdin:/proc/self/fd/0" "stdout:/proc/self/fd/1" \
    "stderr:/proc/self/fd/2"; do
    ln -sf "${link#*:}" "$root/dev/${link%%:*}"
done
mount -t tracefs tracefs $root/sys/kernel/tracing 2>/dev/null
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup || fail cgroup2
for controller in cpuset cpu io memory pids; do
    echo "+$controller" >$root/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
done

hostname lab
ip link set lo up
echo 1 >$root/proc/sys/kernel/printk

while read -r tag path; do
    mkdir -p "$root$path" && mount -t virtiofs "$tag" "$root$path" || fail "share $path"
done </shares

# The first process itself must change its root: the kernel looks for modprobe from there.
exec switch_root $root /bin/sh /run/damos-lab/first.sh
