package nvme

import (
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/targettest"
)

func (r *rig) property(offset uint32, wide byte) uint64 {
	r.Helper()
	cmd := command64(Fabrics, PropertyGet)
	cmd[40] = wide
	le.PutUint32(cmd[44:], offset)
	return r.good(0, cmd, nil).Result
}

func (r *rig) setCC(cc uint32) {
	r.Helper()
	cmd := command64(Fabrics, PropertySet)
	le.PutUint32(cmd[44:], propertyCC)
	le.PutUint32(cmd[48:], cc)
	r.good(0, cmd, nil)
}

func TestPropertiesFollowTheConfiguration(t *testing.T) {
	r := newRig(t, targettest.Options{})
	if v := r.property(propertyVS, 0); v != 0x20000 {
		t.Errorf("VS %xh", v)
	}
	if v := r.property(propertyCAP, 1); v&0xFFFF != 127 || v>>37&1 != 1 || v>>48&0xFF != 0 {
		t.Errorf("CAP %xh", v)
	}
	if v := r.property(propertyCSTS, 0); v != statusReady {
		t.Errorf("CSTS %xh when enabled", v)
	}
	r.setCC(4<<20 | 6<<16 | 1 | 1<<14)
	if v := r.property(propertyCSTS, 0); v != statusReady|shutdownDone {
		t.Errorf("CSTS %xh after a shutdown", v)
	}
	r.setCC(4<<20 | 6<<16)
	if v := r.property(propertyCSTS, 0); v&statusReady != 0 {
		t.Errorf("CSTS %xh when disabled", v)
	}
	r.bad(SequenceError, 1, command64(Flush, 1), nil)
	r.setCC(4<<20 | 6<<16 | 1)
	r.good(1, command64(Flush, 1), nil)
	wrong := command64(Fabrics, PropertyGet)
	le.PutUint32(wrong[44:], propertyCAP) // of 8 bytes
	r.bad(InvalidField|DoNotRetry, 0, wrong, nil)
	wrong = command64(Fabrics, PropertySet)
	le.PutUint32(wrong[44:], propertyCC)
	le.PutUint32(wrong[48:], 1|6<<4) // all I/O command sets: there is but one
	r.setCC(0)
	r.bad(InvalidField|DoNotRetry, 0, wrong, nil)
}

// A controller that is disabled is ready as long as something of it can take effect.
func TestADisabledControllerIsReadyUntilItsCommandsHaveEnded(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.device.Intercept(func(op *target.Op) targettest.Verdict { return targettest.Verdict{Hold: op.Kind == target.Write} })
	held := r.start(r.Controller, 1, ranged(Write, 0, 1, 0), blocks(1, 1))
	r.setCC(0)
	if q := r.wait(held); q.Status != Interrupted {
		t.Errorf("the write ended with %v", q.Status)
	}
	if r.property(propertyCSTS, 0)&statusReady != 0 {
		t.Error("it is ready still")
	}
	r.device.Intercept(nil)
	r.setCC(4<<20 | 6<<16 | 1)
	r.see(0, make([]byte, 512))
}

func TestTheKeepAliveRunsOutInSilenceAndNotBefore(t *testing.T) {
	r := newRig(t, targettest.Options{}) // 5 s
	for range 20 {
		r.Heard()
		if r.Tick(4 * time.Second) {
			t.Fatal("it ran out with commands in between")
		}
	}
	r.Heard()
	silent := time.Duration(0)
	for !r.Tick(time.Second) {
		if silent += time.Second; silent > 10*time.Second {
			t.Fatal("it does not run out")
		}
	}
	if silent < 4*time.Second {
		t.Errorf("it ran out after %v", silent)
	}
	if r.property(propertyCSTS, 0)&statusFatal == 0 {
		t.Error("CSTS.CFS is clear")
	}
	r.bad(SequenceError, 1, command64(Flush, 1), nil)
}

func TestADrainedControllerDoesNothingMore(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.device.Intercept(func(op *target.Op) targettest.Verdict { return targettest.Verdict{Hold: op.Kind == target.Write} })
	held := r.start(r.Controller, 1, ranged(Write, 0, 1, 0), blocks(1, 1))
	event := r.start(r.Controller, 0, command64(AsyncEventRequest, 0), nil)
	gone := make(chan error, 1)
	r.Drain(func(err error) { gone <- err })
	select {
	case err := <-gone:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patient):
		t.Fatal("it is not drained")
	}
	r.wait(held)
	r.wait(event)
	r.device.Intercept(nil)
	r.bad(Interrupted, 1, ranged(Write, 0, 1, 0), blocks(2, 1))
	other := &rig{TB: t, subsystem: r.subsystem, Controller: r.host(2, 8)}
	other.see(0, make([]byte, 512))
}

// stuck is a device whose fence is proven when it is let go.
type stuck struct {
	target.Device
	proven chan func(error)
}

func (s stuck) Fence(_ target.Scope, _ target.Nexus, done func(error)) { s.proven <- done }

func TestADrainWaitsForTheProof(t *testing.T) {
	r := newRig(t, targettest.Options{})
	device := stuck{targettest.NewMemory(targettest.Options{ID: 9}), make(chan func(error), 1)}
	if err := r.subsystem.Add(9, device); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	r.Drain(func(err error) { gone <- err })
	select {
	case <-gone:
		t.Fatal("it is drained without the proof")
	case <-time.After(20 * time.Millisecond):
	}
	(<-device.proven)(nil)
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
}

func (r *rig) events(c *Controller) {
	r.Helper()
	if s, _ := r.do(c, 0, command64(SetFeatures, 0, featureEvents, eventsOfIO), nil); s != Success {
		r.Fatal(s)
	}
}

func TestAChangeOfPathsIsToldOnceUntilTheLogIsRead(t *testing.T) {
	r := newRig(t, twoNodes())
	r.Controller.Drain(func(error) {})
	r.Controller = r.host(1, 7)
	r.events(r.Controller)
	first := r.start(r.Controller, 0, command64(AsyncEventRequest, 0), nil)
	second := r.start(r.Controller, 0, command64(AsyncEventRequest, 0), nil)
	move := func(a, b target.PathState) {
		r.device.SetGroups([]target.PortGroup{{ID: 1, State: a}, {ID: 2, State: b}})
	}
	move(target.Optimized, target.NonOptimized) // as it was
	move(target.NonOptimized, target.Optimized)
	move(target.NonOptimized, target.Optimized)
	if q := r.wait(first); q.Result != eventResults[anaEvent] {
		t.Errorf("event %xh", q.Result)
	}
	move(target.Optimized, target.NonOptimized)
	select {
	case <-second:
		t.Fatal("told again before the log was read")
	default:
	}
	page := r.good(0, log(logANA, 64), nil).Data
	if le.Uint16(page[8:]) != 1 || le.Uint32(page[16:]) != 1 || page[32] != anaOptimized || le.Uint32(page[48:]) != 1 {
		t.Errorf("log % x", page[:52])
	}
	before := le.Uint64(page)
	move(target.NonOptimized, target.Optimized)
	r.wait(second)
	if page = r.good(0, log(logANA, 64), nil).Data; le.Uint64(page) != before+1 || page[32] != anaNonOptimized {
		t.Errorf("change count %d after %d, state %d", le.Uint64(page), before, page[32])
	}
}

func TestNamespacesComeAndGoLive(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.events(r.Controller)
	event := func() uint64 {
		t.Helper()
		return r.wait(r.start(r.Controller, 0, command64(AsyncEventRequest, 0), nil)).Result
	}
	changed := func(want ...uint32) {
		t.Helper()
		page := r.good(0, log(logChangedNamespaces, 4096), nil).Data
		for i, n := range append(want, 0) {
			if le.Uint32(page[4*i:]) != n {
				t.Fatalf("entry %d is %d, want %d", i, le.Uint32(page[4*i:]), n)
			}
		}
	}
	two := targettest.NewMemory(targettest.Options{ID: 2})
	if err := r.subsystem.Add(2, two); err != nil {
		t.Fatal(err)
	}
	if r.subsystem.Add(2, two) == nil || r.subsystem.Add(0, two) == nil || r.subsystem.Add(65, two) == nil {
		t.Error("a number was given twice, or one that there is not")
	}
	if e := event(); e != eventResults[namespaceEvent] {
		t.Errorf("event %xh", e)
	}
	r.device.Resize(4096)
	changed(1, 2)
	two.Resize(4096)
	event()
	changed(2)
	if size := le.Uint64(r.good(0, command64(Identify, 2, 0), nil).Data); size != 4096 {
		t.Errorf("%d blocks after the resize", size)
	}
	done := make(chan error, 1)
	r.subsystem.Remove(2, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	event()
	changed(2)
	cmd := ranged(Read, 0, 1, 0)
	cmd[4] = 2
	r.bad(InvalidNamespace|DoNotRetry, 1, cmd, nil)
	r.device.Remove() // the volume itself
	event()
	changed(1)
}

func TestEventsAreBoundedAndGivenBack(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for range maxEvents {
		r.start(r.Controller, 0, command64(AsyncEventRequest, 0), nil)
	}
	r.bad(AsyncEventLimit|DoNotRetry, 0, command64(AsyncEventRequest, 0), nil)
}

func TestAControllerThatIsLeftTellsHostsToGoElsewhere(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.events(r.Controller)
	event := r.start(r.Controller, 0, command64(AsyncEventRequest, 0), nil)
	r.Leave()
	if q := r.wait(event); q.Result != eventResults[anaEvent] {
		t.Errorf("event %xh", q.Result)
	}
	if page := r.good(0, log(logANA, 64), nil).Data; page[32] != anaInaccessible {
		t.Errorf("state %d", page[32])
	}
	r.bad(AsymmetricInaccessible, 1, ranged(Read, 0, 1, 0), nil) // without DNR
}

func TestTheANALogIsReadInPieces(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for n := uint32(2); n <= 64; n++ {
		if err := r.subsystem.Add(n, targettest.NewMemory(targettest.Options{ID: uint64(n)})); err != nil {
			t.Fatal(err)
		}
	}
	whole := r.good(0, log(logANA, 16+64*36), nil).Data
	var pieces []byte
	for at := 0; at < len(whole); at += 100 {
		cmd := log(logANA, min(100, len(whole)-at))
		le.PutUint32(cmd[48:], uint32(at))
		pieces = append(pieces, r.good(0, cmd, nil).Data...)
	}
	if string(pieces) != string(whole) || le.Uint16(whole[8:]) != 64 {
		t.Error("the pieces are not the whole")
	}
	for i := range 64 {
		if id := le.Uint32(whole[16+36*i:]); id != uint32(i+1) {
			t.Fatalf("group %d is %d: they do not ascend", i, id)
		}
	}
	groups := log(logANA, 16+64*32)
	groups[41] |= 1 // RGO
	if page := r.good(0, groups, nil).Data; le.Uint32(page[16+32*63:]) != 64 || le.Uint32(page[20:]) != 0 {
		t.Error("groups alone are told with namespaces")
	}
}

func TestIdentifyRefusesWhatThereIsNot(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.bad(InvalidField|DoNotRetry, 0, command64(Identify, 0, 0x14), nil)
	r.bad(InvalidNamespace|DoNotRetry, 0, command64(Identify, 0, 0x00), nil)
	r.bad(InvalidNamespace|DoNotRetry, 0, command64(Identify, 65, 0x00), nil)
	r.bad(InvalidNamespace|DoNotRetry, 0, command64(Identify, 2, 0x03), nil)
	r.bad(InvalidNamespace|DoNotRetry, 0, command64(Identify, 0xFFFFFFFE, 0x02), nil)
	zns := command64(Identify, 1, 0x05, 2<<24)
	r.bad(InvalidField|DoNotRetry, 0, zns, nil)
	if b := r.good(0, command64(Identify, 2, 0x00), nil).Data; le.Uint64(b) != 0 {
		t.Error("a namespace that is not there has a size")
	}
	r.bad(InvalidLogPage|DoNotRetry, 0, log(0x7E, 64), nil)
	odd := log(logErrors, 64)
	le.PutUint32(odd[48:], 2)
	r.bad(InvalidField|DoNotRetry, 0, odd, nil)
}
