# Flush the disk's map and log out; nothing of it may stay.
set -eu
multipath -f mpatha
iscsiadm -m node --logout
iscsiadm -m node -o delete
if lsscsi | grep .; then
	echo "disks stay after the logout"
	exit 1
fi
