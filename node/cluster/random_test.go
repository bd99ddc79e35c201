package cluster

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"ashlar/node/address/assign"
	"ashlar/replication/wire"
	"ashlar/target/reserve"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// chaos makes commands that are likely to be right, and often are stale, twice
// there, or wrong.
type chaos struct {
	*rand.Rand
	past   []Command
	caches bool // some volumes have a write cache
}

func (g *chaos) node(s *State) wire.NodeID {
	return wire.NodeID(g.IntN(int(s.LastNode)+1) + g.IntN(2))
}

func (g *chaos) disk() DiskID { return disk(1 + g.IntN(12)) }

func (g *chaos) dead(s *State) (l []Dead) {
	for range 1 + g.IntN(3) {
		n := g.node(s)
		d := Dead{Node: n}
		if s.Nodes[n] != nil {
			d.Incarnation = s.Nodes[n].Incarnation
		}
		l = append(l, d)
	}
	return l
}

func (g *chaos) ballots(s *State) (l []Ballot) {
	for _, v := range s.Voters() {
		if g.IntN(4) > 0 {
			l = append(l, Ballot{v, s.Nodes[v].Incarnation})
		}
	}
	return l
}

func (g *chaos) command(s *State) Command {
	if len(g.past) > 0 && g.IntN(8) == 0 {
		return g.past[g.IntN(len(g.past))]
	}
	c := g.fresh(s)
	if g.IntN(32) == 0 || g.IntN(4) == 0 && len(closed(s)) > 0 {
		c = g.noteDisk(s)
	}
	if g.IntN(12) == 0 {
		c = g.access(s)
	}
	if g.IntN(16) == 0 {
		c = g.job(s)
	}
	if g.IntN(64) == 0 {
		c = Command{NoteFill: &NoteFill{Fill: []Fill{Roomy, FillWarning, FillCritical, "bursting"}[g.IntN(4)], Percent: g.IntN(102)}}
	}
	c.Order = g.order()
	if g.IntN(2) == 0 {
		c.Request = fmt.Sprint(len(g.past))
	}
	g.past = append(g.past, c)
	return c
}

func (g *chaos) fresh(s *State) Command {
	name := func(kind string) string { return fmt.Sprint(kind, g.IntN(6)) }
	var v *Volume
	var segment wire.Segment
	var gen uint64
	var replica Replica
	if ids := s.VolumeIDs(); len(ids) > 0 {
		v = s.Volumes[ids[g.IntN(len(ids))]]
		segment = wire.Segment(g.IntN(len(v.Segments)))
		gen = v.Segments[segment].Gen
		replica = v.Segments[segment].Replicas[g.IntN(len(v.Segments[segment].Replicas))]
	} else {
		v = &Volume{ID: 1}
	}
	n := g.node(s)
	var incarnation wire.Incarnation
	if s.Nodes[n] != nil {
		incarnation = s.Nodes[n].Incarnation
	}
	switch g.IntN(37) {
	case 0:
		a := node(1 + g.IntN(7))
		return Command{AddNode: &a}
	case 1, 2:
		return Command{Register: &Register{Node: n, Peer: fmt.Sprint(n), Portals: []string{"p"}, NVMe: []string{"q"}, Discovery: []string{"d"}}}
	case 3:
		return Command{SetVoter: &SetVoter{n, g.IntN(3) > 0}}
	case 4:
		return Command{Fence: &Fence{Dead: g.dead(s), Refused: true}}
	case 5:
		return Command{Fence: &Fence{Dead: g.dead(s), Ballots: g.ballots(s)}}
	case 6:
		return Command{AddDisk: &AddDisk{ID: g.disk(), Node: n, Size: 1}}
	case 7:
		if g.IntN(3) > 0 {
			break
		}
		return Command{FailDisk: &FailDisk{ID: g.disk(), Outdated: len(g.past)%2 == 0}}
	case 8:
		return Command{CreateVolume: &CreateVolume{Name: name("v"), Bytes: uint64(1+g.IntN(5)) * mib, Copies: 1 + g.IntN(3), WriteCache: g.caches && g.IntN(2) == 0}}
	case 9:
		if g.IntN(4) == 0 {
			return Command{DeleteVolume: &DeleteVolume{name("v")}}
		}
		return Command{AddHost: &AddHost{Name: name("h"), IQN: "iqn.2001-04.com.example:" + name("i")}}
	case 10:
		return Command{SetExport: &SetExport{Volume: name("v"), Host: name("h"), Remove: g.IntN(3) == 0,
			ReadOnly: g.IntN(2) == 0, Numbered: g.IntN(2) == 0, LUN: uint16(g.IntN(3)), Namespace: true}}
	case 11:
		if g.IntN(3) == 0 {
			return Command{DeleteHost: &DeleteHost{name("h")}}
		}
	case 12:
		return Command{Eject: &Eject{v.ID, v.Epoch, replica.Node}}
	case 13:
		return Command{MoveHead: &MoveHead{v.ID, v.Epoch, wire.NodeID(g.IntN(int(n) + 1))}}
	case 14:
		if replica.InSync && len(v.Segments) > 0 {
			for _, r := range v.Segments[segment].Replicas {
				if !r.InSync {
					replica = r
				}
			}
		}
		to := g.disk()
		if len(v.Segments) > 0 && g.IntN(2) == 0 {
			to, _ = s.Places().For(v.Segments[segment], "", nil)
		}
		return Command{MoveReplica: &MoveReplica{v.ID, segment, gen, replica.Disk, to}}
	case 15:
		d := g.disk()
		for _, id := range s.DiskIDs() {
			if s.Replaceable(id) && g.IntN(2) == 0 {
				d = id
			}
		}
		return Command{Replace: &Replace{d}}
	case 16, 17, 18:
		return g.address(s, n, incarnation)
	case 19:
		return g.nvme(name("h"))
	case 20, 21:
		if len(v.Segments) == 0 {
			break
		}
		if replica.Demoted || g.IntN(8) == 0 {
			return Command{Readmit: &Readmit{v.ID, replica.Node}}
		}
		for _, r := range v.Segments[segment].Replicas { // one that may be demoted
			if r.InSync && r.Node != v.Head {
				replica = r
			}
		}
		d := &Demote{Node: replica.Node, Volumes: []VolumeEpoch{{v.ID, v.Epoch}}, Why: "it is slow", At: int64(len(g.past)) * 60_000}
		if g.IntN(2) == 0 {
			d.Disk = replica.Disk
		}
		return Command{Demote: d}
	case 22, 23, 24, 25, 26, 27:
		return g.moves(s, v, n)
	case 28, 29, 30:
		return g.integrity(s, v)
	}
	return g.more(s, v, n, incarnation)
}

func (g *chaos) more(s *State, v *Volume, n wire.NodeID, incarnation wire.Incarnation) Command {
	switch g.IntN(8) {
	case 0:
		by := g.IntN(4*mib) - mib
		if v.Bytes > 6*mib { // large enough
			by = -4096
		}
		return Command{ResizeVolume: &ResizeVolume{v.Name, v.Bytes + uint64(by)/4096*4096}}
	case 1:
		return Command{SetDrained: &SetDrained{Node: n, Drained: g.IntN(2) == 0}}
	case 2:
		return Command{MoveHeads: &MoveHeads{Node: n, Incarnation: incarnation}}
	case 3:
		c := CHAP{Secret: Secret("0123456789ab"[:11+g.IntN(2)])}
		return Command{SetCHAP: &SetCHAP{fmt.Sprint("h", g.IntN(6)), c}}
	case 4:
		nexus := reserve.Nexus{Host: fmt.Sprint("i", g.IntN(3)), Port: uint16(n)}
		kinds := []reserve.Kind{reserve.RegisterAndIgnore, reserve.Reserve, reserve.Release, reserve.Preempt, reserve.ReserveUnit, reserve.Clear}
		return Command{Reserve: &Reserve{v.ID + wire.VolumeID(g.IntN(2)), reserve.Request{Kind: kinds[g.IntN(len(kinds))], Nexus: nexus,
			Key: 1, Service: 1, Type: reserve.WriteExclusive, Session: 1}}}
	case 5:
		return Command{Set: &Set{Settings{RebuildAfterDisk: g.IntN(40) - 10, RebuildAfterNode: g.IntN(200)}}}
	}
	j := &Join{Volume: v.ID, Epoch: v.Epoch, Node: n, Incarnation: incarnation}
	for i, seg := range v.Segments {
		j.Segments = append(j.Segments, SegmentGen{wire.Segment(i), seg.Gen})
	}
	return Command{Join: j}
}

// address is a command about portal addresses that move: mostly what is due.
func (g *chaos) address(s *State, n wire.NodeID, incarnation wire.Incarnation) Command {
	written := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(101 + g.IntN(3))}), 24)
	a := s.AddressAt(written.Addr())
	switch {
	case g.IntN(16) == 0:
		return Command{RemoveAddress: &RemoveAddress{written.Addr()}}
	case a == nil || g.IntN(16) == 0:
		return Command{AddAddress: &AddAddress{Written: written, Port: 3260}}
	case g.IntN(3) == 0:
		return Command{SetFabrics: &SetFabrics{n, incarnation, []netip.Prefix{written.Masked()}}}
	}
	m := assign.Move{Kind: assign.Recall, Address: written.Addr(), Gen: a.Gen, To: n, Incarnation: incarnation}
	switch nodes := s.AddressNodes(); {
	case a.Over(nodes):
		m.Kind = assign.Assign
		for _, x := range nodes {
			if x.Fit(written.Masked()) && g.IntN(2) == 0 {
				m.To, m.Incarnation = x.ID, x.Incarnation
			}
		}
	case a.Leaving:
		m.Kind, m.To, m.Incarnation = assign.Release, a.Holder, a.Incarnation
	}
	switch g.IntN(8) {
	case 0:
		m.Kind = assign.Kind(g.IntN(3))
	case 1:
		m.Gen--
	}
	return Command{MoveAddress: &MoveAddress{m}}
}

// restored is what a node has that got the state as a snapshot.
func restored(t testing.TB, s *State) *State {
	out := New()
	if err := json.Unmarshal([]byte(text(s)), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAnyCommandsInAnyOrder: what must hold holds after each (checkStep); a node
// that applies the same has the same, also from a snapshot on; no state that
// somebody holds is changed by what follows; no epoch is used twice.
func TestAnyCommandsInAnyOrder(t *testing.T) {
	tried, done := map[string]int{}, map[string]int{}
	for seed := range uint64(80) {
		g := &chaos{Rand: rand.New(rand.NewPCG(seed, 7)), caches: seed%2 == 0}
		r := newRig(t, 1+g.IntN(5), 3)
		twin := restored(t, r.State)
		type kept struct {
			s    *State
			text string
		}
		var held []kept
		reigns := map[string]string{}
		for step := range 400 {
			c := g.command(r.State)
			was := text(c)
			result := r.do(c)
			var twins Result
			twin, twins = twin.Apply(r.Index, c)
			now := text(r.State)
			if text(twins) != text(result) || text(twin) != now {
				t.Fatalf("seed %d step %d: %s differs on two nodes: %+v\n%s\n%+v\n%s", seed, step, was, result, now, twins, text(twin))
			}
			if text(c) != was {
				t.Fatalf("seed %d: a command changed from %s to %s", seed, was, text(c))
			}
			if step%10 == 0 {
				held = append(held, kept{r.State, now})
				twin = restored(t, r.State)
			}
			for id, v := range r.Volumes {
				epoch, reign := fmt.Sprint(id, "/", v.Epoch), fmt.Sprint(v.Head, "/", v.HeadIncarnation)
				if old := reigns[epoch]; v.Head != 0 && old != "" && old != reign {
					t.Fatalf("seed %d: epoch %s is of %s and of %s", seed, epoch, old, reign)
				} else if v.Head != 0 {
					reigns[epoch] = reign
				}
			}
			tried[kindOf(c)]++
			if result.Problem == "" {
				done[kindOf(c)]++
				if c.Order != nil {
					done["Order"]++
				}
			}
		}
		for i, k := range held {
			if text(k.s) != k.text {
				t.Fatalf("seed %d: the state of step %d was changed later:\n%s\n%s", seed, 10*i, k.text, text(k.s))
			}
		}
	}
	for kind, n := range tried {
		if done[kind] < 10 || done[kind] == n {
			t.Errorf("%s: %d of %d were right: this run checks little", kind, done[kind], n)
		}
	}
	done["Create"] = 1 // by the rig, each time
	expectAllKinds(t, done)
}

// expectAllKinds that a command can be of.
func expectAllKinds(t *testing.T, seen map[string]int) {
	t.Helper()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Command]()) {
		if f.Type.Kind() == reflect.Pointer && seen[f.Name] == 0 {
			t.Errorf("no %s was carried out", f.Name)
		}
	}
}

func kindOf(c Command) string {
	c.Version, c.Request, c.Order = 0, "", nil
	var fields map[string]any
	if err := json.Unmarshal([]byte(text(c)), &fields); err != nil {
		panic(err)
	}
	for name := range fields {
		if name != "Version" && name != "Request" {
			return name
		}
	}
	return ""
}

// TestALogOfAFormatAlwaysComesToTheSameState: it is replayed after every start,
// by nodes of any later version, and must not come to another one.
func TestALogOfAFormatAlwaysComesToTheSameState(t *testing.T) {
	for version := CommonVersion; version <= FormatVersion; version++ {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) { replayLog(t, version) })
	}
}

func replayLog(t *testing.T, version int) {
	logFile := filepath.Join("testdata", fmt.Sprintf("v%d", version), "log.golden")
	stateFile := filepath.Join("testdata", fmt.Sprintf("v%d", version), "state.golden")
	if *update {
		writeLog(t, logFile, version)
	}
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	var commands []Command
	if err := json.Unmarshal(log, &commands); err != nil {
		t.Fatal(err)
	}
	r := &rig{t, New()}
	kinds := map[string]int{}
	for _, c := range commands {
		if r.do(c).Problem == "" {
			kinds[kindOf(c)]++
			if c.Order != nil {
				kinds["Order"]++
			}
		}
	}
	expectAllKinds(t, kinds)
	got, err := json.MarshalIndent(r.State, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(stateFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(stateFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the log comes to\n%s", got)
	}
}

func writeLog(t *testing.T, name string, version int) {
	first := node(1)
	commands := []Command{
		{Version: 1, Request: "create", Create: &Create{ID: "c0ffee", Name: "lab", SegmentBytes: mib, Node: first,
			Authority: Authority{[]byte("certificate"), []byte("key")}, Secret: []byte("secret"), GossipKey: []byte("gossip")}},
	}
	for i := 1; i <= 3; i++ {
		a := node(i)
		if i > 1 {
			commands = append(commands, Command{Version: 1, AddNode: &a})
		}
		commands = append(commands,
			Command{Version: 1, Register: &Register{Node: wire.NodeID(i), Peer: a.Peer, Gossip: a.Gossip, Portals: a.Portals}},
			Command{Version: 1, SetVoter: &SetVoter{wire.NodeID(i), true}},
			Command{Version: 1, AddDisk: &AddDisk{disk(i), wire.NodeID(i), "/dev/sdb", 1 << 40}})
	}
	commands = append(commands, movesLog()...)
	all := len(reflect.VisibleFields(reflect.TypeFor[Command]())) - 2
	for seed := uint64(1); seed < 1000; seed++ { // the first that has some of each kind
		g := &chaos{Rand: rand.New(rand.NewPCG(1, seed)), caches: version >= cachesVersion}
		r := &rig{t, New()}
		kinds := map[string]bool{}
		log := slices.Clone(commands)
		for _, c := range commands {
			r.good(c)
			kinds[kindOf(c)] = true
		}
		for range 900 {
			c := g.command(r.State)
			c.Version = c.Needs()
			if r.do(c).Problem == "" {
				kinds[kindOf(c)] = true
				kinds["Order"] = kinds["Order"] || c.Order != nil
			}
			log = append(log, c)
		}
		lost := slices.ContainsFunc(slices.Collect(maps.Values(r.Volumes)), func(v *Volume) bool { return v.Losses > 0 })
		if len(kinds) == all && kinds["Order"] && lost == g.caches {
			commands = log
			break
		}
	}
	out, err := json.MarshalIndent(commands, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, out, 0o644); err != nil {
		t.Fatal(err)
	}
}
