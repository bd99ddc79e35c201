# What the kernel and the tools make of one disk: identity, ALUA, a verified
# write of all its blocks, a file system with discard. In: DISK.
set -eu
name=$(basename "$DISK")
echo "handler $(cat /sys/block/"$name"/device/dh_state), state $(cat /sys/block/"$name"/device/access_state)"
echo "wwid $(cat /sys/block/"$name"/device/wwid)"
echo "multipath uid $(/lib/udev/scsi_id -g -u "$DISK")"
echo "cache $(cat /sys/block/"$name"/device/scsi_disk/*/cache_type), provisioning $(cat /sys/block/"$name"/device/scsi_disk/*/provisioning_mode)"
echo "sectors $(cat /sys/block/"$name"/queue/logical_block_size) $(cat /sys/block/"$name"/queue/physical_block_size)"
sg_inq "$DISK" | grep -E 'identification|version'
sg_rtpg -d "$DISK"
fio --name=verify --filename="$DISK" --rw=randwrite --bs=4k --iodepth=16 --ioengine=libaio --direct=1 \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --size="$BYTES" --minimal >/dev/null
echo "fio verified $BYTES bytes"
mkfs.ext4 -q -F "$DISK"
mount -o discard "$DISK" /mnt
cp /usr/bin/fio /mnt
sync
echo 3 >/proc/sys/vm/drop_caches
cmp /usr/bin/fio /mnt/fio
rm /mnt/fio
fstrim -v /mnt
umount /mnt
fsck.ext4 -fn "$DISK"
dd if="$DISK" of=/dev/null bs=1M iflag=direct 2>&1 | tail -n 1
if dmesg | grep -E 'I/O error|Sense Key|detected conn error|ping timeout'; then
	echo "the kernel complains"
	exit 1
fi
