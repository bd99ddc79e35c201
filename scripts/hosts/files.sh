# A file system on the disk: files written, caches dropped, files read back.
set -eu
disk=/dev/mapper/mpatha
mkfs.ext4 -q -F "$disk"
mount "$disk" /mnt
for size in 1 4096 65537 1000000 8388608; do
	head -c "$size" /dev/urandom >/mnt/"$size"
done
(cd /mnt && sha256sum [0-9]*) >/tmp/sums
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount -o ro "$disk" /mnt
(cd /mnt && sha256sum -c /tmp/sums)
umount /mnt
fsck.ext4 -fn "$disk"
