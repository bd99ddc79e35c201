package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ashlar/replication/wire"
)

// closed are disks that no run of their nodes that goes on has open.
func closed(s *State) []DiskID {
	return slices.DeleteFunc(s.DiskIDs(), func(id DiskID) bool {
		d := s.Disks[id]
		n := s.Nodes[d.Node]
		return d.Failed || n == nil || !n.Up || d.Opened == n.Incarnation
	})
}

// noteDisk opens a disk that is closed, or is about any.
func (g *chaos) noteDisk(s *State) Command {
	c := NoteDisk{ID: g.disk(), To: fmt.Sprint(g.IntN(50))}
	if all := closed(s); len(all) > 0 && g.IntN(8) > 0 {
		c.ID = all[g.IntN(len(all))]
	}
	if d := s.Disks[c.ID]; d != nil && g.IntN(4) > 0 {
		c.From = d.Nonce
		if n := s.Nodes[d.Node]; n != nil {
			c.Incarnation = n.Incarnation - wire.Incarnation(g.IntN(5)/4)
		}
	}
	return Command{NoteDisk: &c}
}

func labelOf(t testing.TB, s *State) []byte {
	t.Helper()
	l, err := NewLabel(s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Marshal(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parsed(t testing.TB, b []byte) (*Label, *State) {
	t.Helper()
	l, err := ParseLabel(b)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.State()
	if err != nil {
		t.Fatal(err)
	}
	return l, s
}

// sentinel is in every secret, and in every other field of bytes.
const sentinel = "sEnTiNeL"

// fill puts the sentinel into all bytes that v can reach.
func fill(v reflect.Value, depth int) {
	switch {
	case depth > 12:
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes([]byte(sentinel))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case v.Kind() == reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	}
}

// Whoever finds a disk learns no secret from its label: of all that a state can hold, no bytes are in it.
func TestALabelHoldsNoSecrets(t *testing.T) {
	s := New()
	fill(reflect.ValueOf(s).Elem(), 0)
	s.Version, s.ID = FormatVersion, "c0ffee"
	if !strings.Contains(text(s), text([]byte(sentinel))[1:9]) {
		t.Fatal("the state has no secrets")
	}
	_, got := parsed(t, labelOf(t, s))
	for _, form := range []string{sentinel, text([]byte(sentinel))[1:9]} {
		if strings.Contains(text(got), form) {
			t.Errorf("the label tells a secret: %s", text(got))
		}
	}
	if h := got.Hosts[""]; h == nil || h.CHAP == nil || !h.CHAP.Lost || h.DHCHAP == nil || !h.DHCHAP.Lost {
		t.Errorf("the host is remembered as %s", text(got.Hosts))
	}
	if s.Hosts[""].CHAP.Lost || len(s.GossipKey) == 0 {
		t.Error("the state itself has lost its secrets")
	}
}

func TestALabelTellsTheStateAndWhatItIsOf(t *testing.T) {
	r := newRig(t, 3, 3)
	r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: 6 * mib, Copies: 2}})
	l, got := parsed(t, labelOf(t, r.State))
	if want := r.State.withoutSecrets(); text(got) != text(want) || l.Index != r.Index || l.Cluster != r.ID {
		t.Errorf("%+v tells\n%s\nof\n%s", l, text(got), text(want))
	}
	for _, broken := range [][]byte{nil, []byte("x"), []byte("{}\n"), []byte(`{"Version":2,"Cluster":"c"}` + "\n")} {
		if _, err := ParseLabel(broken); err == nil {
			t.Errorf("%q is taken for a label", broken)
		}
	}
	b := labelOf(t, r.State)
	torn, err := ParseLabel(b[:len(b)-9])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := torn.State(); err == nil {
		t.Error("half a state is taken for one")
	}
}

// A disk of a release that wrote labels of this version must be understood by all later ones.
func TestALabelOfTheFirstVersionIsUnderstood(t *testing.T) {
	path := filepath.Join("testdata", fmt.Sprintf("label-v%d.golden", LabelVersion))
	r := newRig(t, 2, 1)
	r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: 2 * mib, Copies: 2}})
	r.good(Command{NoteDisk: &NoteDisk{ID: disk(1), To: "b"}})
	if *update {
		l, err := NewLabel(r.State)
		if err != nil {
			t.Fatal(err)
		}
		l.Nonces = []string{"a", "b"}
		b, err := l.Marshal(1 << 20)
		if err == nil {
			err = os.WriteFile(path, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l, s := parsed(t, b)
	if !slices.Equal(l.Nonces, []string{"a", "b"}) || text(s) != text(r.State.withoutSecrets()) {
		t.Errorf("%+v\n%s", l, text(s))
	}
}

// A state that does not fit is not cut: the label says that there is one, and which.
func TestALabelWithoutRoomForTheStateSaysSo(t *testing.T) {
	r := newRig(t, 3, 3)
	r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: 60 * mib, Copies: 2}})
	l, err := NewLabel(r.State)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := l.Marshal(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Marshal(len(whole) - 1)
	if err != nil || len(b) >= len(whole) {
		t.Fatalf("%d bytes of %d: %v", len(b), len(whole), err)
	}
	short, s := parsed(t, b)
	if s != nil || !short.TooLarge || short.Index != r.Index || short.Cluster != r.ID {
		t.Errorf("%+v with state %v", short, s)
	}
	again, err := l.Marshal(len(whole))
	if err != nil || !bytes.Equal(again, whole) {
		t.Errorf("what just fits was cut: %v", err)
	}
}

// A label is of the past of another one if that one's lineage went on from where it stands.
func TestLineagesThatPartedAreTold(t *testing.T) {
	r := newRig(t, 2, 2)
	old := r.State
	at := func(s *State) *Label {
		l, _ := parsed(t, labelOf(t, s))
		return l
	}
	r.up(1)
	one := r.State.Reform(1, "one")
	r.up(2)
	two := r.State.Reform(2, "two")
	later, _ := one.Apply(one.Index+1, Command{Register: &Register{Node: 1}})
	for _, c := range []struct {
		what        string
		a, b        *State
		before, far bool
	}{
		{"a state and itself", old, old, true, true},
		{"a state and a later one", old, r.State, true, false},
		{"a state and the lineage formed of it", old, one, true, false},
		{"a lineage and its own later state", one, later, true, false},
		{"what the old lineage came to after the new one left it", r.State, one, false, false},
		{"two lineages of one past", one, two, false, false},
	} {
		if got := at(c.a).Precedes(at(c.b)); got != c.before {
			t.Errorf("%s: precedes is %v", c.what, got)
		}
		if got := at(c.b).Precedes(at(c.a)); got != c.far {
			t.Errorf("%s, the other way round: precedes is %v", c.what, got)
		}
	}
}

// A disk is noted by what was drawn when it was opened last. It carries the one before, too, so that a crash between
// the disk and the note leaves it known; an image from before is not.
func TestAnOldImageOfADiskIsTold(t *testing.T) {
	l := &Label{Nonces: []string{"b", "c"}}
	for noted, of := range map[string]bool{"": true, "b": true, "c": true, "d": false, "a": false} {
		if l.IsOf(noted) != of {
			t.Errorf("a disk with b and c where %q was noted: %v", noted, !of)
		}
	}
	if (*Label)(nil).IsOf("a") || !(*Label)(nil).IsOf("") {
		t.Error("a disk without a label is known only where nothing was noted")
	}
	// One that was opened twice, and whose first opening may be noted yet.
	if got := (&Label{Nonces: []string{"a", "b"}}).Known("a", "c"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("it is known by %v", got)
	}
	if got := (&Label{Nonces: []string{"a", "b"}}).Known("b", "c"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("it is known by %v", got)
	}
	r := newRig(t, 1, 1)
	note := func(from, to string) Command { return Command{NoteDisk: &NoteDisk{ID: disk(1), From: from, To: to}} }
	r.good(note("", "a"))
	r.good(note("", "a")) // twice
	r.refuse(Stale, note("", "b"))
	r.good(note("a", "b"))
	r.refuse(NotFound, Command{NoteDisk: &NoteDisk{ID: disk(7), To: "a"}})
	r.good(Command{FailDisk: &FailDisk{ID: disk(1)}})
	r.refuse(Refused, note("b", "c"))
	if r.Disks[disk(1)].Nonce != "b" {
		t.Errorf("noted is %q", r.Disks[disk(1)].Nonce)
	}
}
