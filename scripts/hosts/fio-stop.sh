# Let the pass that runs end, and report: the longest time between two
# completions, and the longest that one I/O took. Fails on any error or mismatch.
set -eu
cd /tmp/fio
touch stop
deadline=$(($(date +%s) + ${SECONDS_MAX:-300}))
until [ -e ended ]; do
	[ "$(date +%s)" -lt "$deadline" ] || { tr '\r' '\n' <progress | tail -n 3; multipath -ll; echo "fio does not end"; exit 1; }
	sleep .2
done
if [ -e failed ]; then
	cat failed
	exit 1
fi
awk -F, -v passes="$(cat passes)" '
	FNR == 1 { last = 0 }
	$1 - last > gap { gap = $1 - last }
	{ last = $1; if ($2 > slowest) slowest = $2; if ($3) writes++; else reads++ }
	END {
		printf "passes %d writes %d reads %d errors 0 longest-pause-ms %d longest-io-ms %d\n",
			passes, writes, reads, gap, slowest / 1e6
	}' completions.*
grep -q '"error" : 0' result
