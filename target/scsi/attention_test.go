package scsi

import (
	"encoding/binary"
	"encoding/hex"
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
	r.target.Remove(8, func(TMFResult) {})
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

// pending is a rig whose nexus has these conditions established in this order.
func (r *rig) pending(conditions ...attention) {
	for _, a := range conditions {
		r.nexus.raise(r.target.unit(0), a)
	}
}

func TestOneConditionOfAKindInOrder(t *testing.T) {
	for _, x := range []struct {
		raised []attention
		told   []string
	}{
		{[]attention{capacityChanged, accessStateChanged, capacityChanged, reservationsReleased, accessStateChanged, capacityChanged},
			[]string{"02 6/2a09", "02 6/2a06", "02 6/2a04"}},
		{[]attention{reservationsPreempted, registrationsPreempted, reservationsReleased, reservationsPreempted},
			[]string{"02 6/2a03", "02 6/2a05", "02 6/2a04"}},
		// After POWER ON nothing from before it is told; what comes after it is.
		{[]attention{capacityChanged, commandsCleared, inventoryChanged, unitReset, powerOn}, []string{"02 6/2900"}},
		{[]attention{powerOn, capacityChanged}, []string{"02 6/2900", "02 6/2a09"}},
		{[]attention{powerOn, capacityChanged, unitReset}, []string{"02 6/2900"}},
		{[]attention{powerOn, capacityChanged, powerOn}, []string{"02 6/2900"}},
		// A reset is told before what it does not undo, and instead of what it does.
		{[]attention{capacityChanged, commandsCleared, reservationsPreempted, unitReset, unitReset},
			[]string{"02 6/2903", "02 6/2a09", "02 6/2a03"}},
	} {
		r := newRig(t, targettest.Options{})
		r.pending(x.raised...)
		r.wantReady(r.nexus, 0, x.told...)
	}
}

// TestNoUnitAttentionMeetsTheseCommands, and they leave what is pending alone, but
// for what they themselves tell.
func TestNoUnitAttentionMeetsTheseCommands(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.pending(capacityChanged, inventoryChanged, accessStateChanged)
	for _, cdb := range []string{"12 00 00 00 ff 00", "12 01 83 00 ff 00", "a0 00 01 00 00 00 00 00 00 ff 00 00"} {
		r.expect("00", raw(cdb), nil)
	}
	for _, want := range []string{"2a09", "3f0e"} {
		if d := r.good(raw("03 00 00 00 ff 00"), nil); d[2] != keyUnitAttention || hex.EncodeToString(d[12:14]) != want {
			t.Errorf("REQUEST SENSE: % x, want %s", d, want)
		}
	}
	r.pending(inventoryChanged)
	r.expect("00", raw("a0 00 00 00 00 00 00 00 00 ff 00 00"), nil)
	r.wantReady(r.nexus, 0, "02 6/2a06")
	r.pending(capacityChanged)
	for _, cdb := range []string{"ff 00 00 00 00 00", "5e 00 00 00 00 00 00 00 ff 00", "25 00 00 00 00 00 00 00 00 00"} {
		r.expect("02 6/2a09", raw(cdb), nil)
		r.pending(capacityChanged)
	}
}

// TestAChangedInventoryIsToldOnce to each nexus, whichever of the units it asks.
func TestAChangedInventoryIsToldOnce(t *testing.T) {
	r := newRig(t, targettest.Options{})
	other := r.login("b")
	for lun := range uint16(3) {
		if err := r.target.Add(lun+1, targettest.NewMemory(targettest.Options{ID: uint64(lun + 2)})); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []*Nexus{r.nexus, other} {
		r.wantReady(n, 1, "02 6/2900", "02 6/3f0e")
		r.wantReady(n, 0)
		r.wantReady(n, 2, "02 6/2900")
		r.wantReady(n, 3, "02 6/2900")
	}
	r.target.Remove(2, func(TMFResult) {})
	r.wantReady(r.nexus, 3, "02 6/3f0e")
	r.wantReady(r.nexus, 0)
	r.wantReady(r.nexus, 1)
	r.wantReady(other, 0, "02 6/3f0e")
}

// TestALiveResizeIsSeenAtOnce by every nexus, in every place that tells the size;
// and blocks beyond the old end are there at once.
func TestALiveResizeIsSeenAtOnce(t *testing.T) {
	r := newRig(t, targettest.Options{})
	other := r.login("b")
	r.expect("02 5/2100", ranged(0x2A, 0, capacity, 8), blocksOf(3, 8))
	r.memory.Resize(2 * capacity)
	if direction, n := Demand(ranged(0x2A, 0, capacity, 8), r.target, 0); direction != DataOut || n != 4096 {
		t.Errorf("a write beyond the old end demands %d bytes", n)
	}
	for _, n := range []*Nexus{r.nexus, other} {
		r.wantReady(n, 0, "02 6/2a09")
	}
	if d := r.good(raw("25 00 00 00 00 00 00 00 00 00"), nil); binary.BigEndian.Uint32(d) != 2*capacity-1 {
		t.Errorf("READ CAPACITY(10): % x", d)
	}
	if d := r.good(raw("9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"), nil); binary.BigEndian.Uint64(d) != 2*capacity-1 {
		t.Errorf("READ CAPACITY(16): % x", d)
	}
	if d := r.good(raw("1a 00 3f 00 ff 00"), nil); binary.BigEndian.Uint32(d[4:]) != 2*capacity {
		t.Errorf("block descriptor: % x", d[4:12])
	}
	if d := r.good(raw("9e 12 00 00 00 00 00 00 00 00 00 00 04 00 00 00"), nil); binary.BigEndian.Uint32(d[16:]) != 2*capacity {
		t.Errorf("GET LBA STATUS: % x", d)
	}
	r.good(ranged(0x2A, 0, 2*capacity-8, 8), blocksOf(3, 8))
	if got := r.good(ranged(0x28, 0, 2*capacity-8, 8), nil); string(got) != string(blocksOf(3, 8)) {
		t.Error("the last blocks are not what was written")
	}
	r.expect("02 5/2100", ranged(0x2A, 0, 2*capacity-7, 8), blocksOf(3, 8))
}

// TestModesOfOneNexusAreNoNewsToOthers: mode pages are kept per I_T nexus (VPD page
// 87h), so nobody else has a mode parameter that changed.
func TestModesOfOneNexusAreNoNewsToOthers(t *testing.T) {
	r := newRig(t, targettest.Options{})
	other := r.login("b")
	list := r.control(func(p []byte) { p[2] |= dSense })
	r.good(selectSix(list), list)
	r.wantReady(r.nexus, 0)
	r.wantReady(other, 0)
}

// TestSenseDataIsToldWithItsStatusAndNotAgain: REQUEST SENSE after a failure has
// nothing to add, in the format that it asks for.
func TestSenseDataIsToldWithItsStatusAndNotAgain(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.expect("02 5/2100", ranged(0x28, 0, capacity, 1), nil)
	if d := r.good(raw("03 00 00 00 ff 00"), nil); d[0] != 0x70 || d[2] != keyNoSense || d[12] != 0 || len(d) != 18 {
		t.Errorf("sense % x", d)
	}
	list := r.control(func(p []byte) { p[2] |= dSense })
	r.good(selectSix(list), list)
	if d := r.good(raw("03 00 00 00 ff 00"), nil); d[0] != 0x70 {
		t.Errorf("DESC 0: sense % x", d)
	}
	if d := r.good(raw("03 01 00 00 ff 00"), nil); d[0] != 0x72 || len(d) != 8 {
		t.Errorf("DESC 1: sense % x", d)
	}
	r.pending(capacityChanged)
	if d := r.good(raw("03 01 00 00 ff 00"), nil); d[0] != 0x72 || d[1] != keyUnitAttention || d[2] != 0x2A || d[3] != 0x09 {
		t.Errorf("DESC 1: sense % x", d)
	}
}

// TestAnotherVolumeInTheOldOnesPlaceIsToldSo: a host that is logged in looks at the
// unit anew, as if it had never known one of that number.
func TestAnotherVolumeInTheOldOnesPlaceIsToldSo(t *testing.T) {
	r := newRig(t, targettest.Options{})
	add := func(id uint64) {
		if err := r.target.Add(4, targettest.NewMemory(targettest.Options{ID: id})); err != nil {
			t.Fatal(err)
		}
	}
	add(2)
	r.wantReady(r.nexus, 4, "02 6/2900")
	r.wantReady(r.nexus, 0, "02 6/3f0e")
	r.target.Remove(4, func(TMFResult) {})
	r.wantReady(r.nexus, 0, "02 6/3f0e")
	add(3)
	r.wantReady(r.nexus, 4, "02 6/2900", "02 6/3f0e", "02 6/3f03")
	r.wantReady(r.nexus, 0)
	later := r.login("b")
	r.wantReady(later, 4, "02 6/2900")
}
