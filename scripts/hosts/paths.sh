# A line for each path: its portal's address, what multipathd thinks of it, its
# priority, and its ALUA state as the kernel has it.
set -eu
multipathd show paths raw format '%d %t %o %p' | while read -r disk dm device priority; do
	session=$(readlink -f "/sys/block/$disk/device" | grep -o 'session[0-9]*')
	echo "$(cat /sys/class/iscsi_connection/connection"${session#session}":0/persistent_address) $dm $device $priority" \
		"$(cat "/sys/block/$disk/device/access_state")"
done
