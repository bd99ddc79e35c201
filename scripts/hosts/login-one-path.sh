# Log in to TARGET at the portal AT and nowhere else, without multipath, and print the disk.
# The kernel holds I/O for two minutes while the session is away, as open-iscsi has it by default.
set -eu
multipathd shutdown >/dev/null
iscsiadm -m discovery -t sendtargets -p "$AT" >/dev/null
iscsiadm -m node -T "$TARGET" -p "$AT" -o update -n node.session.timeo.replacement_timeout -v 120
iscsiadm -m node -T "$TARGET" -p "$AT" --login >/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do
	udevadm settle
	if [ -b /dev/sda ]; then
		echo /dev/sda
		exit
	fi
	sleep .5
done
echo "no disk"
exit 1
