# A line for each path of a namespace: its portal's address, the state of its controller,
# its ANA state. In: NQN.
set -eu
for c in /sys/class/nvme/nvme*; do
	[ "$(cat "$c/subsysnqn")" = "$NQN" ] || continue
	address=$(sed 's/.*traddr=\([^,]*\).*/\1/' "$c/address")
	for p in "$c"/nvme*c*n*; do
		state=-
		[ -e "$p/ana_state" ] && state=$(cat "$p/ana_state")
		echo "$address $(cat "$c/state") $state"
	done
done
