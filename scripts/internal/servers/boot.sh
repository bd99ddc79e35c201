# The first program of a server, in namespaces of its own: make what systemd expects of a
# container (systemd.io, "The Container Interface"), and become it.
# In: LOWER, the installed Debian; WORK, a folder for what it writes; NAME; DISKS, "NAME MAJOR MINOR" each.
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
root=$WORK/root
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$WORK/upper,workdir=$WORK/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys" # so udev leaves the machine's devices alone
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
	set -- $device
	mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
echo "$DISKS" | while read -r name major minor; do
	[ -z "$name" ] && continue
	mknod -m 660 "$root/dev/$name" b "$major" "$minor"
	chown 0:6 "$root/dev/$name" # group disk
done
mkdir "$root/package"
mount --bind "$PACKAGE" "$root/package"
echo "$NAME" >"$root/etc/hostname"
hostname "$NAME"
: >"$root/etc/machine-id" # systemd makes one
exec env -i container=ashlar-lab PATH=/usr/sbin:/usr/bin chroot "$root" /lib/systemd/systemd
