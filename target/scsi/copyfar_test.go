package scsi

import (
	"bytes"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// far is two targets of one node with a volume each, and a host that is logged in
// to both: a copy goes through the first.
type far struct {
	*held
	there *rig    // the other target, with the host's nexus
	found *Target // the other target as the host may use it now
	cdb   []byte
	list  []byte
}

func newFar(t *testing.T) *far {
	f := &far{}
	here, other := targettest.NewMemory(twoNodes()), targettest.NewMemory(targettest.Options{ID: 2, Groups: twoNodes().Groups})
	find := func(host string, naa [16]byte) *Target {
		if host == hostName+"a" && naa == other.Info().NAA {
			return f.found
		}
		return nil
	}
	f.held = &held{rig: &rig{T: t, memory: here, target: NewTarget(Config{Name: targetName, Find: find})}, ended: map[*Task]int{}}
	f.there = &rig{T: t, memory: other, target: NewTarget(Config{Name: targetName + "2"})}
	for _, r := range []*rig{f.rig, f.there} {
		if err := r.target.Add(0, r.memory); err != nil {
			t.Fatal(err)
		}
	}
	f.found = f.there.target
	f.nexus = f.login("a")
	id := target.Nexus{Host: hostName + "a,i,0x2", Port: 1, Generation: 2} // another session, another ISID
	f.there.nexus = f.there.target.Login(id, hostName+"a")
	f.there.ready(f.there.nexus, 0)
	targets := append(copyTarget(here), copyTarget(other)...)
	f.cdb, f.list = copyCommand(targets, append(copySegment(0, 1, 0, 16, 8), copySegment(0, 1, 0, 24, 8)...))
	f.good(ranged(0x2A, 0, 0, 8), blocksOf(5, 8))
	return f
}

// copied says whether the copy is there, as a nexus reads it.
func (f *far) copied(as *Nexus) bool {
	got := make([]byte, 512)
	f.there.memory.Submit(&target.Op{Kind: target.Read, LBA: 16, Blocks: 1, Data: got, Nexus: as.id, Done: func(o *target.Op) {
		if o.Status != target.OK {
			f.Error(o.Status)
		}
	}})
	return bytes.Equal(got, blocksOf(5, 1))
}

func TestACopyGoesFromTargetToTarget(t *testing.T) {
	f := newFar(t)
	f.expect("00", f.cdb, f.list)
	if !f.copied(f.there.nexus) {
		t.Error("not copied")
	}
	f.there.good(ranged(0x2A, 0, 0, 8), blocksOf(6, 8))
	f.expect("00", f.cdb, f.reverseList())
	if !bytes.Equal(f.block(16), blocksOf(6, 1)) {
		t.Error("not copied back")
	}
	f.there.nexus.Logout() // it may still use it
	f.expect("00", f.cdb, f.list)
}

// reverseList is the list of a copy from there, padded with a segment of nothing to
// the length of the other.
func (f *far) reverseList() []byte {
	_, list := copyCommand(f.list[copyHeader:][:2*targetBytes], append(copySegment(1, 0, 0, 16, 8), copySegment(1, 0, 0, 16, 0)...))
	return list
}

func TestACopyUsesOnlyWhatItsHostMayUse(t *testing.T) {
	f := newFar(t)
	b := f.login("b")
	stranger := f.run(f.task(b, 0, f.cdb, f.list))
	if got := verdict(stranger); got != "02 a/0d02" {
		t.Errorf("of a host without access: %s", got)
	}
	f.found = nil
	f.expect("02 a/0d02", f.cdb, f.list)
	f.found = f.there.target
	f.there.memory.SetReadOnly(true)
	f.expect("02 7/2700", f.cdb, f.list)
	f.expect("00", f.cdb, f.reverseList())
	f.there.memory.SetReadOnly(false)
	list := f.there.control(func(p []byte) { p[4] |= swp })
	f.there.good(selectSix(list), list)
	f.expect("02 7/2700", f.cdb, f.list)
	list = f.there.control(func(p []byte) { p[4] &^= swp })
	f.there.good(selectSix(list), list)

	// Access that ends in the middle of a copy ends the copy at its next segment.
	f.there.memory.Intercept(func(o *target.Op) targettest.Verdict {
		f.found = nil
		return targettest.Verdict{}
	})
	if task := f.expect("02 a/0d02", f.cdb, f.list); task.Sense[11] != 1 {
		t.Errorf("sense % x, want segment 1", task.Sense)
	}
	if status, n, _ := f.copyStatusOf(7); status != copyEndedBadly || n != 1 {
		t.Errorf("status %d, %d segments", status, n)
	}
}

// TestACopyMeetsReservations of both units. On the other unit it is done as the
// host's own nexus there, if the host has one.
func TestACopyMeetsReservations(t *testing.T) {
	const exclusive = 3 // Exclusive Access
	reserveAs := func(r *rig) *Nexus {
		r.prout("00", register, 0, 0, 1)
		r.prout("00", reserveAction, exclusive, 1, 0)
		return r.nexus
	}
	other := func(r *rig) *rig { return &rig{T: t, memory: r.memory, target: r.target, nexus: r.login("b")} }
	for _, x := range []struct {
		name, want string
		reserve    func(f *far) (reader *Nexus)
	}{
		{"the host's own there", "00", func(f *far) *Nexus { return reserveAs(f.there) }},
		{"another's there", "02 a/0d01", func(f *far) *Nexus { return reserveAs(other(f.there)) }},
		{"another's RESERVE(6) there", "02 a/0d01", func(f *far) *Nexus {
			o := other(f.there)
			o.good(raw("16 00 00 00 00 00"), nil)
			return o.nexus
		}},
		{"that of the host's session which has ended", "02 a/0d01", func(f *far) *Nexus {
			n := reserveAs(f.there)
			n.Logout()
			return n
		}},
		{"another's here", "18", func(f *far) *Nexus {
			reserveAs(other(f.rig))
			return f.there.nexus
		}},
		{"the host's own here", "00", func(f *far) *Nexus {
			reserveAs(f.rig)
			return f.there.nexus
		}},
	} {
		f := newFar(t)
		reader := x.reserve(f)
		if got := verdict(f.do(f.cdb, f.list)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
		if copied := f.copied(reader); copied != (x.want == "00") {
			t.Errorf("%s: copied %v", x.name, copied)
		}
	}
}

// TestAnAbortedCopyWritesNothingAnywhere: the proof covers the other unit as well.
func TestAnAbortedCopyWritesNothingAnywhere(t *testing.T) {
	for name, end := range map[string]func(f *far, task *Task, done func(TMFResult)){
		"ABORT TASK":     func(f *far, task *Task, done func(TMFResult)) { f.target.Abort(task, done) },
		"ABORT TASK SET": func(f *far, _ *Task, done func(TMFResult)) { f.target.Manage(f.nexus, AbortTaskSet, 0, done) },
		"a reset":        func(f *far, _ *Task, done func(TMFResult)) { f.target.Manage(f.login("b"), LogicalUnitReset, 0, done) },
		"a logout":       func(f *far, _ *Task, done func(TMFResult)) { f.nexus.Drain(done) },
	} {
		f := newFar(t)
		f.there.memory.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Hold: true} })
		task := f.begin(f.nexus, f.cdb, f.list)
		answers := 0
		end(f, task, func(r TMFResult) {
			answers++
			if r != FunctionComplete || f.there.memory.Held() != 0 {
				t.Errorf("%s: answered %d with %d operations under way", name, r, f.there.memory.Held())
			}
		})
		f.want(task, 1, true)
		f.there.memory.Intercept(nil)
		f.there.memory.Release()
		if answers != 1 || f.copied(f.there.nexus) {
			t.Errorf("%s: %d answers, copied %v", name, answers, f.copied(f.there.nexus))
		}
	}
}

// TestAResetThroughAnotherNodeEndsACopy that goes elsewhere: its host may send it
// again, unless that would copy what it has written.
func TestAResetThroughAnotherNodeEndsACopy(t *testing.T) {
	for _, x := range []struct {
		segments []byte
		want     string
	}{
		{copySegment(0, 1, 0, 16, 4096), "08"}, // of two pieces
		{append(copySegment(0, 1, 0, 16, 8), copySegment(1, 0, 16, 0, 8)...), "02 a/0d01"},
	} {
		f := newFar(t)
		f.there.memory.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Hold: true} })
		cdb, list := copyCommand(f.list[copyHeader:][:2*targetBytes], x.segments)
		task := f.begin(f.nexus, cdb, list)
		f.memory.Fence(target.FenceUnit, target.Nexus{}, func(error) {})
		f.there.memory.Release() // the piece under way; nothing follows it
		f.want(task, 1, false)
		if got := verdict(task); got != x.want {
			t.Errorf("%s, want %s", got, x.want)
		}
		if n := f.there.memory.Held(); n != 0 {
			t.Errorf("%d operations more", n)
		}
	}
}

// clocked is a device whose stamps tell a time.
type clocked struct {
	*targettest.Memory
	now *int64
}

func (c clocked) Stamp() target.Stamp { return target.Stamp{Epoch: 1, Token: *c.now, Read: *c.now} }

// TestACopyIsAsOldAsItsCommand: its operations tell that this node is up to date, and
// when the command was read, after which a Device takes them for 4 s.
func TestACopyIsAsOldAsItsCommand(t *testing.T) {
	m := targettest.NewMemory(targettest.Options{})
	now := int64(1000)
	r := &rig{T: t, memory: m, target: NewTarget(Config{Name: targetName})}
	if err := r.target.Add(0, clocked{m, &now}); err != nil {
		t.Fatal(err)
	}
	r.nexus = r.login("a")
	operations := 0
	m.Intercept(func(o *target.Op) targettest.Verdict {
		if o.Stamp.Read != 1000 || o.Stamp.Token != now {
			t.Errorf("%v: stamp %+v at %d", o.Kind, o.Stamp, now)
		}
		now++
		operations++
		return targettest.Verdict{}
	})
	cdb, list := copyCommand(copyTarget(m), bytes.Repeat(copySegment(0, 0, 0, 8, 8), 3))
	r.expect("00", cdb, list)
	if operations != 6 {
		t.Errorf("%d operations", operations)
	}
}
