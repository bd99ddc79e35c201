package scsi

import (
	"bytes"
	"testing"
	"time"
)

// older has a nexus have logged in, and its path been checked last, so long ago.
func (n *Nexus) older(login, checked time.Duration) {
	n.began = clock() - int64(login)
	n.checked.Store(clock() - int64(checked))
}

func TestOnlyThePathOfAHostThatLooksAfterItsPathsIsWithdrawn(t *testing.T) {
	r := newRig(t, twoNodes())
	for _, x := range []struct {
		login, checked time.Duration
		want           bool
	}{
		{time.Hour, time.Hour, false},                    // checked when it logged in
		{time.Hour, time.Hour - 2*time.Second, false},    // by the disk driver
		{9 * time.Second, 0, false},                      // this may be that
		{time.Hour, 61 * time.Second, false},             // it has stopped
		{time.Hour, 20 * time.Second, true},              // multipathd's longest interval
		{15 * time.Second, 100 * time.Millisecond, true}, // a young session
		{70 * time.Second, 59 * time.Second, true},       // at the latest
		{70 * time.Second, 61 * time.Second, false},      // a little later
	} {
		n := r.login("b")
		n.older(x.login, x.checked)
		if got := n.Withdraw(); got != x.want {
			t.Errorf("logged in %v ago, checked %v ago: %v", x.login, x.checked, got)
		}
	}
	n := r.login("c")
	n.older(time.Hour, time.Minute+time.Second)
	r.run(r.task(n, 0, make([]byte, 6), nil)) // TEST UNIT READY
	if !n.Withdraw() {
		t.Error("TEST UNIT READY checks no path")
	}
}

func TestAWithdrawnPathIsUnavailableAndNoOther(t *testing.T) {
	r := newRig(t, twoNodes())
	n := r.login("b")
	n.older(time.Hour, 0)
	n.Withdraw()
	read := []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}
	for _, cdb := range [][]byte{make([]byte, 6), read, {0x5A, 0, 0x3F, 0, 0, 0, 0, 0, 255, 0}, {0xC1, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if task := r.run(r.task(n, 0, cdb, nil)); task.Status != StatusCheckCondition || task.Sense[2] != keyNotReady || task.Sense[12] != 0x04 || task.Sense[13] != 0x0C {
			t.Errorf("% x: status %02x, sense % x", cdb, task.Status, task.Sense)
		}
	}
	for _, cdb := range [][]byte{{0x12, 0, 0, 0, 255, 0}, {0x03, 0, 0, 0, 18, 0}, {0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0}} {
		if task := r.run(r.task(n, 0, cdb, nil)); task.Status != StatusGood {
			t.Errorf("% x: status %02x, sense % x", cdb, task.Status, task.Sense)
		}
	}
	groups := []byte{0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0}
	states := func(n *Nexus) []byte {
		d := r.run(r.task(n, 0, groups, nil)).Data
		return []byte{d[4] & 0x0F, d[16] & 0x0F}
	}
	if got := states(n); !bytes.Equal(got, []byte{3, 1}) {
		t.Errorf("the withdrawn path's groups: %v", got)
	}
	if got := states(r.nexus); !bytes.Equal(got, []byte{0, 1}) {
		t.Errorf("another's groups: %v", got)
	}
	if task := r.run(r.task(r.nexus, 0, read, nil)); task.Status != StatusGood {
		t.Errorf("another's read: status %02x", task.Status)
	}
}
