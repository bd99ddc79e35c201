//go:build lab

package hosts

import (
	"fmt"
	"strings"
	"time"

	"ashlar/scripts/internal/clusters"
)

// What Linux logs of a unit attention (drivers/scsi/scsi_error.c).
const (
	capacityChanged = "Capacity data has changed"                   // 2A/09
	unitsChanged    = "LUN assignments on this target have changed" // 3F/0E
)

// logins is how often the host has logged in so far, to its target or to ask
// for it, again after a broken connection too.
func (o *one) logins() (sum int) {
	for _, n := range o.c.Nodes {
		sum += len(n.LogLines(`msg="iscsi login" node=` + n.Name + ` initiator=` + guestIQN))
	}
	return sum
}

// expectLogins checks that nothing has made the host log in again.
func (o *one) expectLogins(before int) {
	o.t.Helper()
	if after := o.logins(); after != before || before == 0 {
		o.t.Errorf("the host has logged in %d times, and before that %d times", after, before)
	}
}

// awaitAttention waits until the kernel has logged something on each path since
// forget.
func (o *one) awaitAttention(what string) {
	o.t.Helper()
	o.await(30*time.Second, what+" in the kernel log, on both paths", fmt.Sprintf(
		`dmesg | tail -n 20; [ "$(dmesg | grep '%s' | grep -o ' sd [0-9:]*: ' | sort -u | wc -l)" -ge 2 ]`, what))
}

// forget empties the kernel's log.
func (o *one) forget() { o.must("dmesg -c >/dev/null") }

// grow resizes the volume under load. The host is told, looks again, and uses
// what is new.
func (o *one) grow() {
	before := o.logins()
	o.script("fio-start", fmt.Sprintf("BYTES=%d", quickBytes))
	o.awaitIO(100, 30*time.Second)
	o.forget()
	o.far.Must("volume", "resize", "db", fmt.Sprint(largeBytes))
	o.awaitAttention(capacityChanged)
	o.must("for d in /sys/block/sd*/device/rescan; do echo 1 >$d; done; multipathd resize map mpatha")
	o.await(10*time.Second, "larger disk", fmt.Sprintf("multipath -ll; [ $(blockdev --getsize64 /dev/mapper/mpatha) = %d ]", largeBytes))
	o.expectVerified()
	o.script("fio-start", fmt.Sprintf("BYTES=%d", quickBytes), fmt.Sprintf("OFFSET=%d", largeBytes-quickBytes))
	o.expectVerified()
	o.expectLogins(before)
}

// mapSecond publishes a second volume to the host, which finds it without a new
// login.
func (o *one) mapSecond() {
	before := o.logins()
	o.forget()
	o.far.Must("volume", "create", "log", "--size", fmt.Sprint(secondBytes), "--copies", "2")
	o.far.Must("export", "add", "log", "linux", "--lun", "2")
	o.awaitAttention(unitsChanged)
	o.must("iscsiadm -m session --rescan")
	o.awaitPaths(4, 0)
	o.must("udevadm settle")
	if out := o.must("lsblk -b -d -n -o SIZE /dev/mapper/mpathb"); strings.TrimSpace(out) != fmt.Sprint(secondBytes) {
		o.t.Errorf("the second volume has %s bytes", out)
	}
	o.expectLogins(before)
}

// unmapSecond takes the second volume back: its paths fail, and another look
// shows that it is gone. What the host does with the first is not disturbed.
func (o *one) unmapSecond() {
	before := o.logins()
	o.script("fio-start", fmt.Sprintf("BYTES=%d", quickBytes))
	o.awaitIO(100, 30*time.Second)
	o.forget()
	o.near.Must("export", "delete", "log", "linux")
	o.awaitAttention(unitsChanged)
	o.awaitPaths(2, 2)
	o.must("multipath -f mpathb; for unit in /sys/class/scsi_device/*:2; do echo 1 >$unit/device/delete; done")
	o.must("iscsiadm -m session --rescan")
	for _, n := range []*clusters.Node{o.near, o.far} {
		if out := o.through(n.Number, o.target, 1).expect(sgGood, "sg_luns"); !strings.Contains(out, "\n    0001000000000000\n") || strings.Contains(out, "000200") {
			o.t.Errorf("REPORT LUNS through %s:\n%s", n.Name, out)
		}
	}
	o.awaitPaths(2, 0)
	o.expectVerified()
	o.expectLogins(before)
}
