# How far fio-start.sh is: whole passes, I/Os that the disk has completed, I/Os
# in flight. Fails once fio has.
set -eu
cd /tmp/fio
if [ -e failed ]; then
	cat failed
	exit 1
fi
disk=$(basename "$(readlink -f /dev/mapper/mpatha)")
read -r reads _ _ _ writes _ _ _ flying _ </sys/block/"$disk"/stat
echo "$(cat passes) $((reads + writes)) $flying"
