# How far fio-start.sh is: whole passes, I/Os that the disk has completed, I/Os
# in flight ("-": unknown). Fails once fio has.
set -eu
cd /tmp/fio
if [ -e failed ]; then
	cat failed
	exit 1
fi
disk=$(basename "$(readlink -f "$(cat disk)")")
if [ "${disk#nvme}" != "$disk" ]; then
	# Linux counts no I/Os of NVMe's multipath devices: fio's own are counted, up to 16 in flight included.
	read -r bytes block <size
	done=0
	for p in $(pidof fio); do
		done=$((done + $(awk '/^(read|write)_bytes/ { n += $2 } END { print n + 0 }' "/proc/$p/io" 2>/dev/null || echo 0)))
	done
	echo "$(cat passes) $((($(cat passes) * 2 * bytes + done) / block)) -"
	exit
fi
read -r reads _ _ _ writes _ _ _ flying _ </sys/block/"$disk"/stat
echo "$(cat passes) $((reads + writes)) $flying"
