//go:build lab

package hosts

import (
	"fmt"
	"strings"
	"testing"
)

// nexus is a host's path through one node, apart from the other paths of its
// multipath device: an I_T nexus.
type nexus struct {
	host
	node int
	disk string // as SCSI generic device, which no udev rule watches
}

// through is the path of a logged-in host through node k to a logical unit.
func (h host) through(k int, target string, lun int) nexus {
	h.t.Helper()
	disk := h.must(fmt.Sprintf("basename $(readlink -f /dev/disk/by-path/ip-%s:3260-iscsi-%s-lun-%d)", address("a", k), target, lun))
	generic := h.must(fmt.Sprintf("ls /sys/block/%s/device/scsi_generic", strings.TrimSpace(disk)))
	return nexus{h, k, "/dev/" + strings.TrimSpace(generic)}
}

// in is the nexus for a subtest.
func (n nexus) in(t *testing.T) nexus {
	n.t = t
	return n
}

// What sg3_utils' programs exit with (sg_lib.h).
const (
	sgGood     = 0
	sgConflict = 24 // RESERVATION CONFLICT
)

// attend takes the unit attentions that wait, as clusters' agents do before each
// command.
const attend = "sg_turs -n 3 %[1]s >/dev/null 2>&1\n"

// scsi runs a program of sg3_utils on the nexus, with the device as its last argument.
func (n nexus) scsi(command string) (out string, code int) {
	n.t.Helper()
	return n.try(fmt.Sprintf(attend+"%[2]s %[1]s", n.disk, command))
}

// expect is scsi where one exit code is right.
func (n nexus) expect(code int, command string) string {
	n.t.Helper()
	out, got := n.scsi(command)
	if got != code {
		n.t.Fatalf("guest %d through node %d: %s: exit code %d, want %d\n%s", n.n, n.node, command, got, code, out)
	}
	return out
}

// access is what the nexus may do: READ(10) and WRITE(10) of an LBA that nothing
// else uses.
func (n nexus) access() string {
	n.t.Helper()
	out := n.must(fmt.Sprintf(attend+`
		sg_raw -r 512 %[1]s 28 00 00 00 ff 00 00 00 01 00 >/dev/null 2>&1
		echo $?
		sg_raw -s 512 -i /dev/zero %[1]s 2a 00 00 00 ff 00 00 00 01 00 >/dev/null 2>&1
		echo $?`, n.disk))
	switch out {
	case "0\n0\n":
		return "all"
	case "0\n24\n":
		return "reads"
	case "24\n24\n":
		return "none"
	}
	return "READ and WRITE exit with " + strings.ReplaceAll(out, "\n", " ")
}

// expectAccess compares what each of some nexuses may do.
func expectAccess(t *testing.T, when string, want map[nexus]string) {
	t.Helper()
	for n, w := range want {
		if got := n.access(); got != w {
			t.Errorf("%s: guest %d through node %d may do: %s; want: %s", when, n.n, n.node, got, w)
		}
	}
}
