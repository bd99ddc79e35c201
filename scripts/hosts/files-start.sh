# Mount the file system on DISK and write files of random bytes there until
# files-check.sh: the sum of each is kept once it is synced. Sixteen names, written over and over.
set -eu
mkdir -p /tmp/files
rm -f /tmp/files/*
mount "$DISK" /mnt
(
	n=0
	until [ -e /tmp/files/stop ]; do
		name=$((n % 16))
		head -c $((1 + n * 7919 % 400000)) /dev/urandom >/tmp/files/content
		rm -f /tmp/files/$name.sum
		if ! { cp /tmp/files/content /mnt/$name && sync /mnt/$name; } 2>/tmp/files/said; then
			mv /tmp/files/said /tmp/files/failed
			break
		fi
		(cd /tmp/files && sha256sum content | sed "s/content/$name/" >$name.sum)
		n=$((n + 1))
		echo $n >/tmp/files/count
	done
	touch /tmp/files/ended
) >/dev/null 2>&1 &
