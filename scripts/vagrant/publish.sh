#!/bin/sh
# On a node, as root: publish a volume of SIZE to a host.
# In: VOLUME, SIZE, HOST, IQN of the host.
set -eu
ashlar volume show "$VOLUME" >/dev/null 2>&1 || ashlar volume create "$VOLUME" --size "$SIZE" --copies 2
ashlar host list -o json | grep -q "\"$IQN\"" || ashlar host add "$HOST" "$IQN"
ashlar export list -o json | grep -q "\"$HOST\"" || ashlar export add "$VOLUME" "$HOST"
