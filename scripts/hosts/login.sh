# Discover, log in at every portal that was named, or at those of AT, wait for the
# paths. In: PORTALS (to ask), TARGET, PATHS (how many there must be). The disk: /dev/mapper/mpatha.
set -eu
echo "timers: $(grep -hE '^node.*(noop_out|replacement|login_timeout)' /etc/iscsi/iscsid.conf | tr -d ' ' | tr '\n' ' ')"
for portal in $PORTALS; do
	iscsiadm -m discovery -t sendtargets -p "$portal"
done
if [ -n "${AT:-}" ]; then
	for portal in $AT; do
		iscsiadm -m node -T "$TARGET" -p "$portal" --login
	done
else
	iscsiadm -m node -T "$TARGET" --login
fi
deadline=$(($(date +%s) + 60))
until [ "$(multipathd show paths raw format '%i %t %o' | grep -c 'active running')" = "$PATHS" ]; do
	[ "$(date +%s)" -lt "$deadline" ] || { multipath -ll; multipathd show paths; echo "not $PATHS paths within 60 s"; exit 1; }
	sleep .2
done
udevadm settle
multipath -ll
