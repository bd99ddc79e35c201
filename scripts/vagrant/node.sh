#!/bin/sh
# Make a bare Debian machine a node, as root; what is done already is left as it is.
# In: PACKAGE, the package's file; ADDRESSES of the node, the first fabric's first; DISK for the pool;
# FIRST, the address of a node of the cluster, and SECRET, the cluster's, or else CLUSTER, its name, on the first node.
set -eu
if ! [ "$(dpkg-deb -f "$PACKAGE" Version)" = "$(dpkg-query -W -f '${Version}' ashlar 2>/dev/null || true)" ]; then
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$(realpath "$PACKAGE")" >/dev/null
fi
set --
for address in $ADDRESSES; do
	set -- "$@" --address "$address"
done
if [ -n "${SECRET:-}" ]; then
	echo "$SECRET" | ashlar setup "$@" --join "$FIRST" --secret-file - --disk "$DISK"
else
	ashlar setup "$@" --cluster "$CLUSTER" --disk "$DISK"
fi
