# End files-start.sh; its file system has to be clean, and each file as it was synced.
set -eu
touch /tmp/files/stop
deadline=$(($(date +%s) + 60))
until [ -e /tmp/files/ended ]; do
	[ "$(date +%s)" -lt "$deadline" ] || {
		echo "writing a file does not end, after $(cat /tmp/files/count)"
		ps -eo pid,stat,wchan:30,args | grep -v "\[" || true
		cat "/sys/class/block/$(basename "$(readlink -f "$DISK")")/stat" || true
		dmesg | tail -30
		exit 1
	}
	sleep .1
done
if [ -e /tmp/files/failed ]; then
	cat /tmp/files/failed
	exit 1
fi
umount /mnt
fsck.ext4 -fn "$DISK"
echo 3 >/proc/sys/vm/drop_caches
mount -o ro "$DISK" /mnt
cat /tmp/files/*.sum >/tmp/files/sums
if ! (cd /mnt && sha256sum -c /tmp/files/sums) >/tmp/files/compared; then
	grep -v ': OK$' /tmp/files/compared
	exit 1
fi
umount /mnt
echo "$(cat /tmp/files/count) files written and synced"
