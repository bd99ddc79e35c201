#!/bin/sh
# On a bare Debian machine, as root: log in at all portals that PORTAL tells of, and
# wait for the multipath device with PATHS paths.
set -eu
export PATH="$PATH:/usr/sbin"
for program in iscsiadm multipath; do
	if ! command -v "$program" >/dev/null; then
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y open-iscsi multipath-tools >/dev/null
	fi
done
iscsiadm -m discovery -t sendtargets -p "$PORTAL"
iscsiadm -m node --loginall all || iscsiadm -m session
deadline=$(($(date +%s) + 60))
until [ "$(multipath -ll | grep -c 'active ready')" -ge "$PATHS" ]; do
	[ "$(date +%s)" -lt "$deadline" ] || { multipath -ll; echo "not $PATHS paths within 60 s"; exit 1; }
	sleep 1
done
multipath -ll
