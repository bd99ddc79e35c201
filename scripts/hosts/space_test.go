//go:build lab

package hosts

import (
	"fmt"
	"strings"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// provisioning asks about blocks of the second volume through one node that were
// written and unmapped through the other.
func (o *one) provisioning() {
	near, far := o.through(o.near.Number, o.target, 2), o.through(o.far.Number, o.target, 2)
	const lba, blocks = 2048, 2048 // 1 MiB at 1 MiB
	o.must("yes ashlar | dd of=/dev/mapper/mpathb bs=1M seek=1 count=1 iflag=fullblock oflag=direct")
	state := func(n nexus, at int) string {
		return strings.TrimSpace(n.expect(sgGood, fmt.Sprintf("sg_get_lba_status -b -b --lba=%d", at)))
	}
	for _, n := range []nexus{near, far} {
		if mapped := state(n, lba); mapped != "0" {
			o.t.Errorf("what was written has the status %s through node %d, want 0 (mapped)", mapped, n.node)
		}
	}
	far.expect(sgGood, fmt.Sprintf("sg_unmap -f --lba=%d --num=%d", lba, blocks))
	for _, n := range []nexus{near, far} {
		if mapped := state(n, lba); mapped != "1" {
			o.t.Errorf("what was unmapped has the status %s through node %d, want 1 (deallocated)", mapped, n.node)
		}
	}
	o.must("dd if=/dev/mapper/mpathb bs=1M skip=1 count=1 iflag=direct | cmp -n 1048576 - /dev/zero")
}

// copyFar copies between the two volumes with EXTENDED COPY, which no byte comes
// to the host for.
func (o *one) copyFar() {
	from, to := o.through(o.far.Number, o.target, 1), o.through(o.far.Number, o.target, 2)
	sum := func(disk string, mib int) string {
		return o.must(fmt.Sprintf("dd if=/dev/mapper/%s bs=1M skip=%d count=4 iflag=direct status=none | sha256sum", disk, mib))
	}
	o.must("dd if=/dev/urandom of=/dev/mapper/mpatha bs=1M seek=8 count=4 iflag=fullblock oflag=direct")
	before := sum("mpathb", 16)
	o.must(fmt.Sprintf("sg_xcopy if=%s of=%s bs=512 skip=%d seek=%d count=%d", from.disk, to.disk, 8<<11, 16<<11, 4<<11))
	if source, copied := sum("mpatha", 8), sum("mpathb", 16); copied != source || copied == before {
		o.t.Errorf("the copy's checksum was %s and is %s, want %s", before, copied, source)
	}
}

const (
	fileBytes = 64 << 20
	// What the file system may keep of a node's space: its journal, and pieces
	// that are in part free.
	trimSlack = 16 << 20
)

// trim writes a file, deletes it, and has the file system say what it no longer
// uses.
func (o *one) trim() {
	o.must("mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/mpatha && mount /dev/mapper/mpatha /mnt && sync")
	before := o.used()
	o.must(fmt.Sprintf("yes 'what is deleted' | head -c %d >/mnt/file && sync", fileBytes))
	full := o.used()
	if got := sum(full) - sum(before); got < 2*fileBytes {
		o.t.Errorf("%d bytes are used for two copies of %d", got, fileBytes)
	}
	o.must("rm /mnt/file && sync && fstrim /mnt")
	after := o.used()
	for node := range before {
		if after[node] > before[node]+trimSlack {
			o.t.Errorf("a file was written, deleted and trimmed: %s uses %d bytes, after %d with the file and %d before",
				node, after[node], full[node], before[node])
		}
	}
	if freed := sum(full) - sum(after); freed < 2*fileBytes-trimSlack {
		o.t.Errorf("%d bytes are free again, of two copies of %d", freed, fileBytes)
	}
	o.t.Logf("used by each node before %v, with the file %v, without it %v", before, full, after)
	o.must("umount /mnt && fsck.ext4 -fn /dev/mapper/mpatha")
}

// used is what each node's disks hold.
func (o *one) used() map[string]uint64 {
	o.t.Helper()
	m := map[string]uint64{}
	for _, n := range clusters.Document[api.Pool](o.far, "pool", "status").Nodes {
		m[n.Node] = n.Used
	}
	return m
}

func sum(of map[string]uint64) (all uint64) {
	for _, n := range of {
		all += n
	}
	return all
}
