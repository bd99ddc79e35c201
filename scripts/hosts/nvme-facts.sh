# What nvme-cli makes of a namespace and its controllers: what is wrong is named. In: DISK,
# NSID, NQN, BYTES, GROUPS (ANA groups with an optimized path through the first controller).
set -eu
fail() { echo "wrong: $*"; exit 1; }
c=$(for c in /sys/class/nvme/nvme*; do [ "$(cat "$c/subsysnqn")" = "$NQN" ] && basename "$c" && break; done)
nvme id-ctrl "/dev/$c" | grep -E '^(vid|sn|mn|cmic|cntrltype|kas|oncs|fuses|anatt|anacap|anagrpmax|nn|sgls|subnqn|ctratt|vwc|mdts) '
nvme id-ctrl "/dev/$c" | grep -q "^subnqn *: $NQN\$" || fail subnqn
nvme id-ns "$DISK" -n "$NSID" | grep -E '^(nsze|nuse|nsfeat|nmic|rescap|anagrpid|nguid|lbaf +0)'
[ "$(blockdev --getsize64 "$DISK")" = "$BYTES" ] || fail "size $(blockdev --getsize64 "$DISK")"
nvme ns-descs "$DISK" -n "$NSID" | grep -E 'nguid|uuid' || fail "no descriptors"
nvme ana-log "/dev/$c" >/tmp/ana || fail ana-log
grep -E 'state|grpid|nnsids' /tmp/ana | head -n 6
nvme smart-log "/dev/$c" | grep -E 'critical_warning' || fail smart-log
nvme error-log "/dev/$c" >/dev/null || fail error-log
nvme get-log "/dev/$c" -i 5 -l 512 >/dev/null || fail "get-log 5"
nvme fw-log "/dev/$c" >/dev/null || fail fw-log
nvme resv-register "$DISK" -n "$NSID" --nrkey=0xabc --rrega=0 >/dev/null
nvme resv-acquire "$DISK" -n "$NSID" --crkey=0xabc --rtype=1 --racqa=0 >/dev/null
nvme resv-report "$DISK" -n "$NSID" --eds -o json | tr -d ' \n' | grep -q '"rtype":1,' || fail "$(nvme resv-report "$DISK" -n "$NSID" --eds)"
nvme resv-release "$DISK" -n "$NSID" --crkey=0xabc --rtype=1 --rrela=0 >/dev/null
nvme resv-register "$DISK" -n "$NSID" --crkey=0xabc --rrega=1 >/dev/null
mkfs.ext4 -q -F "$DISK"
mount -o discard "$DISK" /mnt
cp /usr/bin/fio /mnt
sync
echo 3 >/proc/sys/vm/drop_caches
cmp /usr/bin/fio /mnt/fio
rm /mnt/fio
fstrim -v /mnt
umount /mnt
fsck.ext4 -fn "$DISK" >/dev/null 2>&1 || fail fsck
if dmesg | grep -E 'I/O error|nvme.*(timeout|failed|invalid|duplicate)'; then
	fail "the kernel complains"
fi
echo facts are right
