# Discover at AT, connect to all that is told there, wait for the paths. In: AT, NQN,
# PATHS (how many there must be), KEEPALIVE (s; the kernel's default is 5), PROOF (options
# with which the host proves who it is). A lost path is tried again each second.
set -eu
nvme discover -t tcp -a "$AT" -s 8009 ${PROOF:-} | grep -E '^(subnqn|traddr|trsvcid|subtype):'
nvme connect-all -t tcp -a "$AT" -s 8009 --hdr-digest --data-digest --keep-alive-tmo="$KEEPALIVE" --reconnect-delay=1 --ctrl-loss-tmo=600 ${PROOF:-} 2>&1
deadline=$(($(date +%s) + 30))
until [ "$(nvme list-subsys | sed -n "/NQN=$NQN\$/,/^nvme-subsys/p" | grep -c ' live')" = "$PATHS" ]; do
	[ "$(date +%s)" -lt "$deadline" ] || { nvme list-subsys; dmesg | tail -n 30; echo "not $PATHS paths within 30 s"; exit 1; }
	sleep .2
done
udevadm settle
nvme list-subsys
