# Random writes of BLOCK (4 KiB) at queue depth 16 over BYTES of the disk from OFFSET (0) on,
# in passes until fio-stop.sh: each pass writes every block once, in an order and
# with a pattern of its own, then reads and checks every block. DISK is the multipath device.
set -eu
mkdir -p /tmp/fio
DISK=${DISK:-/dev/mapper/mpatha}
echo "$DISK" >/tmp/fio/disk
echo "$BYTES ${BLOCK:-4096}" >/tmp/fio/size
cat >/tmp/fio/job <<JOB
[pass]
filename=$DISK
offset=${OFFSET:-0}
size=$BYTES
rw=randwrite
bs=${BLOCK:-4096}
ioengine=libaio
direct=1
iodepth=16
randrepeat=0
verify=crc32c
do_verify=1
verify_fatal=1
write_lat_log=/tmp/fio/pass
JOB
# Linux' NVMe/TCP driver sends in the caller's context, and has the caller killed by SIGPIPE
# if the target has just closed the connection (see docs/nvme.md): what ignores it lives on.
(
	trap '' PIPE
	cd /tmp/fio
	echo 0 >passes
	until [ -e stop ]; do
		if ! fio --eta=always --eta-newline=1 --output-format=json --output=result job >progress 2>&1; then
			tr '\r' '\n' <progress | tail -n 20 >failed
			break
		fi
		echo $(($(cat passes) + 1)) >passes
		# A line per I/O: end since the pass began (ms), latency (ns), direction, ...
		mv pass_clat.1.log "completions.$(cat passes)"
	done
	touch ended
) >/dev/null 2>&1 &
