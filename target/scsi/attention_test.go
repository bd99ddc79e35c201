package scsi

import (
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// ready is TEST UNIT READY's verdict on a LUN.
func (r *rig) ready(n *Nexus, lun uint16) string {
	r.Helper()
	return verdict(r.run(r.task(n, FormatLUN(lun), make([]byte, 6), nil)))
}

func (r *rig) wantReady(n *Nexus, lun uint16, wants ...string) {
	r.Helper()
	for _, want := range append(wants, "00") {
		if got := r.ready(n, lun); got != want {
			r.Errorf("LUN %d: %s, want %s", lun, got, want)
		}
	}
}

func TestANewNexusIsToldOfPowerOn(t *testing.T) {
	r := newRig(t, targettest.Options{})
	n := r.target.Login(target.Nexus{Host: "x", Port: 1}, "x")
	for _, cdb := range []string{"12 00 00 00 ff 00", "a0 00 00 00 00 00 00 00 00 ff 00 00"} {
		if got := verdict(r.run(r.task(n, 0, raw(cdb), nil))); got != "00" {
			t.Errorf("%s with a unit attention pending: %s", cdb, got)
		}
	}
	r.wantReady(n, 0, "02 6/2900")
}

func TestRequestSenseTellsAndClearsAUnitAttention(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.memory.Resize(capacity * 2)
	if d := r.good(raw("03 00 00 00 ff 00"), nil); d[2] != 6 || d[12] != 0x2A || d[13] != 0x09 {
		t.Errorf("sense % x", d)
	}
	r.wantReady(r.nexus, 0)
	if d := r.good(raw("03 00 00 00 ff 00"), nil); d[2] != 0 {
		t.Errorf("sense % x", d)
	}
}

func TestEventsAreToldOnceInOrderToEveryNexus(t *testing.T) {
	r := newRig(t, twoNodes())
	other := r.login("b")
	r.memory.Resize(capacity * 2)
	r.memory.SetGroups([]target.PortGroup{{ID: 1, State: target.NonOptimized}, {ID: 2}})
	r.memory.Resize(capacity * 3)
	for range 5 {
		r.memory.SetGroups([]target.PortGroup{{ID: 1}, {ID: 2, State: target.NonOptimized}})
	}
	for _, n := range []*Nexus{r.nexus, other} {
		r.wantReady(n, 0, "02 6/2a09", "02 6/2a06")
	}
}

func TestAChangedInventoryIsToldUntilReportLUNs(t *testing.T) {
	r := newRig(t, targettest.Options{})
	second := targettest.NewMemory(targettest.Options{ID: 2})
	if err := r.target.Add(7, second); err != nil {
		t.Fatal(err)
	}
	if err := r.target.Add(7, second); err == nil {
		t.Error("one number was given to two units")
	}
	r.wantReady(r.nexus, 0, "02 6/3f0e")
	r.wantReady(r.nexus, 7, "02 6/2900")
	third := targettest.NewMemory(targettest.Options{ID: 3})
	if err := r.target.Add(8, third); err != nil {
		t.Fatal(err)
	}
	r.good(raw("a0 00 00 00 00 00 00 00 00 ff 00 00"), nil)
	r.wantReady(r.nexus, 0)
	r.wantReady(r.nexus, 7)
	r.target.Remove(8)
	r.wantReady(r.nexus, 7, "02 6/3f0e")
	if got := r.ready(r.nexus, 8); got != "02 5/2500" {
		t.Errorf("removed unit: %s", got)
	}
}

func TestARemovedVolumeLeavesTheTarget(t *testing.T) {
	r := newRig(t, targettest.Options{})
	u := r.target.unit(0)
	r.memory.Remove()
	r.target.removeUnit(u) // the event does the same, soon
	if got := r.ready(r.nexus, 0); got != "02 5/2500" {
		t.Errorf("removed volume: %s", got)
	}
	if len(r.target.numbers()) != 0 {
		t.Error("still in the inventory")
	}
}
