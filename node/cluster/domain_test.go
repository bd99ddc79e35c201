package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

// racks puts nodes 1, 2, ... into fault domains by their letters.
func (r *rig) racks(letters string) {
	r.t.Helper()
	for i, l := range letters {
		r.good(Command{SetDomain: &SetDomain{wire.NodeID(i + 1), "rack-" + string(l)}})
	}
}

func (r *rig) shared(v wire.VolumeID) (n int) {
	for _, g := range r.Volumes[v].Segments {
		if r.Doubled(g) != nil {
			n++
		}
	}
	return n
}

func TestCopiesArePlacedInDifferentDomains(t *testing.T) {
	r := newRig(t, 5, 3)
	r.racks("aaabb")
	for _, name := range []string{"v", "w", "x"} { // with heads in both
		if v := r.volume(name, 2, 8); r.shared(v) != 0 {
			t.Errorf("%d segments of %s have both copies in one domain", r.shared(v), name)
		}
	}
	if v := r.volume("three", 3, 1); r.shared(v) != 1 {
		t.Error("three copies in two domains, and none is shared")
	}
	r.good(Command{ResizeVolume: &ResizeVolume{"v", 12 * mib}})
	if n := r.shared(1); n != 0 {
		t.Errorf("%d segments have both copies in one domain after it grew", n)
	}
}

func TestLostCopiesAreMadeInAnotherDomain(t *testing.T) {
	r := newRig(t, 5, 3)
	r.racks("aaabb")
	v := r.volume("v", 2, 8)
	r.down(5)
	r.good(Command{Replace: &Replace{"d5"}})
	if n := r.shared(v); n != 0 {
		t.Errorf("%d segments have both copies in one domain, and need not", n)
	}
	r.down(4) // what had copies in both domains has one now
	r.good(Command{Replace: &Replace{"d4"}})
	if n := r.shared(v); n == 0 {
		t.Error("with one domain left no copies share it")
	}
}

func TestADomainHasAName(t *testing.T) {
	r := newRig(t, 1, 1)
	r.refuse(Invalid, Command{SetDomain: &SetDomain{1, "Rack 1"}})
	r.refuse(NotFound, Command{SetDomain: &SetDomain{9, "rack1"}})
	r.good(Command{SetDomain: &SetDomain{1, "rack1"}})
	r.good(Command{SetDomain: &SetDomain{1, ""}})
}
