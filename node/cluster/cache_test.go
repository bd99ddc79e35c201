package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

// cached makes a volume of two segments with a write cache.
func (r *rig) cached(copies int) wire.VolumeID {
	r.t.Helper()
	return r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: 2 * mib, Copies: copies, WriteCache: true}}).Volume
}

// expectForgot compares which nodes' copies of the first segment have forgotten, and how many losses there were.
func (r *rig) expectForgot(v wire.VolumeID, losses uint64, nodes ...wire.NodeID) {
	r.t.Helper()
	var got []wire.NodeID
	for _, c := range r.Volumes[v].Segments[0].Replicas {
		if c.Forgot {
			got = append(got, c.Node)
		}
	}
	if len(got) != len(nodes) || len(nodes) > 0 && got[0] != nodes[0] || r.Volumes[v].Losses != losses {
		r.t.Fatalf("%v have forgotten, losses: %d; want %v and %d", got, r.Volumes[v].Losses, nodes, losses)
	}
}

func TestAWriteCacheNeedsTwoMemories(t *testing.T) {
	r := newRig(t, 3, 3)
	r.refuse(Invalid, Command{CreateVolume: &CreateVolume{Name: "v", Bytes: mib, Copies: 1, WriteCache: true}})
}

// TestOlderReleasesGoOnUntilThereIsAWriteCache, and refuse what they would take for something else.
func TestOlderReleasesGoOnUntilThereIsAWriteCache(t *testing.T) {
	r := newRig(t, 3, 3)
	r.volume("plain", 2, 1)
	if r.Version != 1 {
		t.Errorf("without a write cache the state has version %d", r.Version)
	}
	plain, cached := Command{CreateVolume: &CreateVolume{}}, Command{CreateVolume: &CreateVolume{WriteCache: true}}
	if plain.Needs() != 1 || cached.Needs() != 2 {
		t.Errorf("commands need %d and %d", plain.Needs(), cached.Needs())
	}
	if r.cached(2); r.Version != 2 {
		t.Errorf("with a write cache the state has version %d", r.Version)
	}
}

func TestACopyThatBeginsAnewHasForgottenUntilTheHeadHasToldIt(t *testing.T) {
	r := newRig(t, 2, 1)
	v := r.cached(2)
	r.expectForgot(v, 0)
	head := r.Volumes[v].Head
	other := 3 - head
	r.up(other)
	r.expectForgot(v, 0, other)
	r.expectInSync(v, 0, 1, 2)
	r.good(r.joins(v, other))
	r.expectForgot(v, 0)
	r.up(other) // once more, and it is as before
	r.expectForgot(v, 0, other)
}

func TestALossIsCountedWhereNobodyRemembers(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.cached(3)
	plain := r.volume("plain", 3, 1)
	r.up(3)
	r.up(2)
	if got := r.Volumes[v].Losses; got != 0 {
		t.Fatalf("%d losses, and one copy remembers", got)
	}
	r.good(r.joins(v, 2))
	r.up(1)
	if got := r.Volumes[v].Losses; got != 0 {
		t.Fatalf("%d losses, and one copy has been told by the others", got)
	}
	r.up(2)
	r.expectForgot(v, 1) // one loss, and it begins anew
	r.up(3)
	r.expectForgot(v, 1, 3)
	if r.Volumes[plain].Losses != 0 || r.Volumes[plain].Segments[0].Replicas[0].Forgot {
		t.Errorf("a volume without a cache: %+v", r.Volumes[plain])
	}
}

// TestAWordOfAnOlderRunIsNoneOfThisOne: the head told the copy before it began anew again.
func TestAWordOfAnOlderRunIsNoneOfThisOne(t *testing.T) {
	r := newRig(t, 2, 1)
	v := r.cached(2)
	other := 3 - r.Volumes[v].Head
	r.up(other)
	stale := r.joins(v, other)
	r.up(other)
	r.refuse(Stale, stale)
	r.expectForgot(v, 0, other)
}

func TestADiskThatFailsForgets(t *testing.T) {
	r := newRig(t, 2, 2)
	v := r.cached(2)
	head := r.Volumes[v].Head
	other := 3 - head
	r.up(other)
	r.good(Command{FailDisk: &FailDisk{ID: disk(int(head))}})
	if got := r.Volumes[v].Losses; got != 1 {
		t.Errorf("%d losses; one copy has begun anew, and the other's disk has failed", got)
	}
}

// TestACopyThatIsAloneHasNothingToForget once its head has said that all is stored: until then, what was
// answered with another copy may be in its memory only.
func TestACopyThatIsAloneHasNothingToForget(t *testing.T) {
	for _, stored := range []bool{false, true} {
		r := newRig(t, 3, 3)
		v := r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: mib, Copies: 2, WriteCache: true}}).Volume
		g := r.Volumes[v].Segments[0].Replicas
		keeps, leaves := g[0].Node, g[1].Node
		r.down(leaves)
		r.expectInSync(v, 0, keeps)
		if stored {
			r.good(r.joins(v, keeps))
		}
		r.up(keeps)
		want := uint64(1)
		if stored {
			want = 0
		}
		if got := r.Volumes[v].Losses; got != want {
			t.Errorf("stored: %v; %d losses, want %d", stored, got, want)
		}
	}
}
