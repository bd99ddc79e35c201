package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"ashlar/node/address/assign"
	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

const mib = 1 << 20

// rig applies commands, and keeps what the latest one was told to have done.
type rig struct {
	t *testing.T
	*cluster.State
	told []Event
}

func (r *rig) do(c cluster.Command) cluster.Result {
	r.t.Helper()
	next, result := r.Apply(r.Index+1, c)
	if result.Problem != "" {
		r.t.Fatalf("%+v: %s", c, result.Problem)
	}
	r.told = Between(r.State, next, time.UnixMilli(int64(next.Index)))
	r.State = next
	return result
}

// expect is what the command tells, each as "kind: sentence"; a ! is before a warning.
func (r *rig) expect(c cluster.Command, want ...string) {
	r.t.Helper()
	r.do(c)
	var got []string
	for i, e := range r.told {
		line := string(e.Kind) + ": " + e.Text
		if e.Warning {
			line = "!" + line
		}
		got = append(got, line)
		if e.ID != (ID{r.Index, uint32(i + 1)}) || e.At.UnixMilli() != int64(r.Index) {
			r.t.Errorf("%s: %v at %v", line, e.ID, e.At)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("told\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func register(n wire.NodeID) cluster.Command {
	return cluster.Command{Register: &cluster.Register{Node: n, Peer: fmt.Sprintf("10.0.0.%d:1", n), Portals: []string{fmt.Sprintf("10.0.1.%d:2", n)}}}
}

// newRig is a cluster of three nodes with a disk each, and volume "v" with two copies, its head on "n1".
func newRig(t *testing.T) *rig {
	r := &rig{t: t, State: cluster.New()}
	first := cluster.AddNode{Name: "n1", Peer: "10.0.0.1:1"}
	r.expect(cluster.Command{Create: &cluster.Create{ID: "c0ffee", Name: "lab", SegmentBytes: mib, Node: first}},
		`cluster-created: the cluster "lab" was created`, `node-joined: node "n1" joined the cluster`, `node-voter: node "n1" votes`)
	r.do(register(1))
	for i := 2; i <= 3; i++ {
		name := fmt.Sprint("n", i)
		r.expect(cluster.Command{AddNode: &cluster.AddNode{Name: name, Peer: fmt.Sprintf("10.0.0.%d:1", i)}},
			fmt.Sprintf(`node-joined: node %q joined the cluster`, name))
		r.expect(register(wire.NodeID(i)), fmt.Sprintf(`node-up: node %q is up, as incarnation 1`, name))
	}
	for i := 1; i <= 3; i++ {
		r.expect(cluster.Command{AddDisk: &cluster.AddDisk{ID: cluster.DiskID(fmt.Sprint("d", i)), Node: wire.NodeID(i), Path: "/dev/sdb", Size: 64 * mib}},
			fmt.Sprintf(`disk-added: disk /dev/sdb of node "n%d" is in the pool, with 67108864 bytes`, i))
	}
	r.expect(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: "v", Bytes: 2 * mib, Copies: 2}},
		`volume-created: volume "v" was created, with 2097152 bytes and 2 copies; node "n1" is its head`)
	return r
}

func (r *rig) volume() *cluster.Volume { return r.Volumes[1] }

func (r *rig) fence(n wire.NodeID) cluster.Command {
	return cluster.Command{Fence: &cluster.Fence{Refused: true, Dead: []cluster.Dead{{Node: n, Incarnation: r.Nodes[n].Incarnation}}}}
}

func (r *rig) joins(n wire.NodeID) cluster.Command {
	j := &cluster.Join{Volume: 1, Epoch: r.volume().Epoch, Node: n, Incarnation: r.Nodes[n].Incarnation}
	for i, g := range r.volume().Segments {
		j.Segments = append(j.Segments, cluster.SegmentGen{Segment: wire.Segment(i), Gen: g.Gen})
	}
	return cluster.Command{Join: j}
}

func TestTheEndOfANodeTellsWhatFollowedFromIt(t *testing.T) {
	r := newRig(t)
	r.expect(r.fence(1),
		`!node-down: node "n1" is down: incarnation 1 was fenced`,
		`!copies-out: 2 copies of volume "v" on node "n1" are out of sync`,
		`head-moved: the head of volume "v" moved from node "n1" to node "n2", at epoch 2: that node is down`)
	// The last copy in sync stays in its set: it is not out of sync, and writes wait for it.
	r.expect(r.fence(3), `!node-down: node "n3" is down: incarnation 1 was fenced`)
	r.expect(r.fence(2), `!node-down: node "n2" is down: incarnation 1 was fenced`,
		`!head-lost: volume "v" has no head since node "n2": no copy in sync can be used, so it waits`)
}

func TestANodeThatReturnsTellsOfItsCopies(t *testing.T) {
	r := newRig(t)
	r.do(r.fence(1))
	r.expect(register(1), `node-up: node "n1" is up, as incarnation 2`)
	r.expect(r.joins(1), `copies-in: 2 copies of volume "v" on node "n1" are in sync`)
	if e := r.told[0]; e.Volume != "v" || e.Node != "n1" || e.Copies != 2 {
		t.Errorf("%+v", e)
	}
	r.expect(register(1), `node-up: node "n1" is up, as incarnation 3, before anybody noticed that it was down`)
}

func TestADrainedDiskTellsWhenItIsEmpty(t *testing.T) {
	r := newRig(t)
	r.expect(cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: "d3", Drained: true}},
		`disk-drained: disk /dev/sdb of node "n3" is drained: its copies go elsewhere`)
	at := -1
	for i, g := range r.volume().Segments {
		if g.OnDisk("d3") != nil {
			at = i
		}
	}
	gen := func() uint64 { return r.volume().Segments[at].Gen }
	r.expect(cluster.Command{AddReplica: &cluster.AddReplica{Volume: 1, Segment: wire.Segment(at), Gen: gen(), To: "d2", Replaces: "d3"}},
		`copies-placed: 1 copies of volume "v" are to be made on node "n2"`)
	r.expect(r.joins(2), `copies-in: 1 copies of volume "v" on node "n2" are in sync`)
	r.expect(cluster.Command{DropReplica: &cluster.DropReplica{Volume: 1, Segment: wire.Segment(at), Gen: gen(), Disk: "d3"}},
		`disk-empty: disk /dev/sdb of node "n3" is drained: no copies are left on it`)
	r.expect(cluster.Command{RemoveDisk: &cluster.RemoveDisk{Disk: "d3"}}, `disk-removed: disk /dev/sdb of node "n3" was taken out of the pool`)
}

func TestSlownessAndDecayAreTold(t *testing.T) {
	r := newRig(t)
	v := r.volume()
	r.expect(cluster.Command{Demote: &cluster.Demote{Node: 1, Volumes: []cluster.VolumeEpoch{{Volume: 1, Epoch: v.Epoch}}, Why: "its disk is slow", At: 1}},
		`!copies-demoted: 2 copies of volume "v" on node "n1" were left out for slowness: its disk is slow`)
	r.expect(cluster.Command{MoveHead: &cluster.MoveHead{Volume: 1, Epoch: 1}},
		`head-moved: the head of volume "v" moved from node "n1" to node "n2", at epoch 2: that node's copies are slow`)
	for i := range 3 {
		want := []string{fmt.Sprintf(`!disk-bad-blocks: disk /dev/sdb of node "n3" could not give 1 blocks, %d so far`, i+1)}
		if i == 2 {
			want = append(want, `!disk-worn: disk /dev/sdb of node "n3" lost 3 blocks within a day: it is to leave the pool`)
		}
		r.expect(cluster.Command{BadBlocks: &cluster.BadBlocks{Disk: "d3", Blocks: []cluster.BadBlock{{Volume: 1, Block: uint32(i), At: 1}}}}, want...)
	}
	r.do(r.joinsAfterReadmit(1))
	r.expect(cluster.Command{EjectDisk: &cluster.EjectDisk{ID: "d3"}},
		`!disk-ejected: disk /dev/sdb of node "n3" was ejected: its copies are made anew elsewhere`,
		`!copies-out: 1 copies of volume "v" on node "n3" are out of sync`)
}

func (r *rig) joinsAfterReadmit(n wire.NodeID) cluster.Command {
	r.do(cluster.Command{Readmit: &cluster.Readmit{Volume: 1, Node: n}})
	return r.joins(n)
}

func TestWhatTheOperatorOrdersIsTold(t *testing.T) {
	r := newRig(t)
	r.expect(cluster.Command{ResizeVolume: &cluster.ResizeVolume{Name: "v", Bytes: 3 * mib}}, `volume-resized: volume "v" has 3145728 bytes, 2097152 before`)
	r.expect(cluster.Command{AddHost: &cluster.AddHost{Name: "h", IQN: "iqn.2026-11.com.example:h"}}, `host-added: host "h" is known`)
	r.expect(cluster.Command{SetCHAP: &cluster.SetCHAP{Host: "h", CHAP: cluster.CHAP{Secret: []byte("twelve-bytes")}}}, `host-changed: what host "h" has to prove was changed`)
	r.expect(cluster.Command{SetExport: &cluster.SetExport{Volume: "v", Host: "h"}}, `export-added: volume "v" is published to host "h"`)
	r.expect(cluster.Command{SetExport: &cluster.SetExport{Volume: "v", Host: "h", Remove: true}}, `export-removed: volume "v" was taken back from host "h"`)
	r.expect(cluster.Command{DeleteHost: &cluster.DeleteHost{Name: "h"}}, `host-removed: host "h" was forgotten`)
	r.expect(cluster.Command{Set: &cluster.Set{Settings: cluster.Settings{Rebalance: cluster.Off}}},
		`settings-changed: settings of the cluster were changed: `+settings(r.settingsWith(cluster.Off)))
	r.expect(cluster.Command{SetDrained: &cluster.SetDrained{Node: 1, Drained: true}},
		`node-drained: node "n1" is drained: hosts and heads go elsewhere`,
		`head-moved: the head of volume "v" moved from node "n1" to node "n2", at epoch 2: that node is drained`)
	r.expect(cluster.Command{SetDrained: &cluster.SetDrained{Node: 1}}, `node-undrained: node "n1" serves hosts again`)
	twice := cluster.Command{DeleteVolume: &cluster.DeleteVolume{Name: "v"}, Request: "twice"}
	r.expect(twice, `volume-deleted: volume "v" was deleted`)
	r.expect(twice)
}

func (r *rig) settingsWith(rebalance string) cluster.Settings {
	s := r.Effective()
	s.Rebalance = rebalance
	return s
}

func TestAnAddressTellsOfItsHolders(t *testing.T) {
	r := newRig(t)
	ip := netip.MustParsePrefix("10.0.1.100/24")
	r.do(cluster.Command{SetFabrics: &cluster.SetFabrics{Node: 2, Incarnation: 1, Fabrics: []netip.Prefix{ip.Masked()}}})
	r.expect(cluster.Command{AddAddress: &cluster.AddAddress{Written: ip, Port: 3260}}, `address-added: portal address 10.0.1.100 is there`)
	r.expect(cluster.Command{MoveAddress: &cluster.MoveAddress{Move: assign.Move{Kind: assign.Assign, Address: ip.Addr(), To: 2, Incarnation: 1}}},
		`address-moved: portal address 10.0.1.100 is held by node "n2"`)
	r.expect(cluster.Command{RemoveAddress: &cluster.RemoveAddress{Address: ip.Addr()}}, `address-removed: portal address 10.0.1.100 is taken out of use`)
}

func TestAScrubTellsWhatItFoundOnceAndThatItEnded(t *testing.T) {
	r := newRig(t)
	note := func(round cluster.Round) cluster.Command {
		return cluster.Command{NoteScrub: &cluster.NoteScrub{Volume: 1, Epoch: r.volume().Epoch, Deep: &round}}
	}
	r.expect(note(cluster.Round{Began: 1, Next: 1, Counts: cluster.Counts{Differing: 2, Mended: 2}}),
		`!scrub-found: a deep scrub of volume "v" found 2 differing blocks, and mended 2`)
	r.expect(note(cluster.Round{Began: 1, Next: 1, Counts: cluster.Counts{Differing: 2, Mended: 2}}))
	r.expect(note(cluster.Round{Ended: 9, Last: cluster.Counts{Differing: 3, Mended: 2}}),
		`!scrub-found: a deep scrub of volume "v" found 1 differing blocks, and mended 0`,
		`!scrub-ended: a deep scrub of volume "v" has ended: 3 differing blocks, 2 mended, 0 that could not be compared`)
	r.expect(note(cluster.Round{Began: 10, Ended: 9, Last: cluster.Counts{Differing: 3, Mended: 2}, Counts: cluster.Counts{Differing: 1}}),
		`!scrub-found: a deep scrub of volume "v" found 1 differing blocks, and mended 0`)
}

func TestAJobTellsThatItWasOrderedAndHowItEnded(t *testing.T) {
	r := newRig(t)
	start := func(kind cluster.JobKind) cluster.Command {
		return cluster.Command{StartJob: &cluster.StartJob{Kind: kind, Volume: "v", By: "ci"}}
	}
	note := func(id, step uint64, end cluster.JobEnd, counts cluster.Counts) cluster.Command {
		return cluster.Command{NoteJob: &cluster.NoteJob{Job: id, Step: step, End: end, Problem: "it was in the way", Progress: cluster.JobProgress{Counts: counts}}}
	}
	r.expect(start(cluster.VerifyJob), `job-started: job 1 was ordered: all copies of volume "v" are to be compared`)
	r.expect(start(cluster.VerifyJob))
	r.expect(note(1, 0, "", cluster.Counts{}))
	r.expect(note(1, 1, cluster.JobDone, cluster.Counts{Differing: 2, Mended: 1, Skipped: 3}),
		`!job-ended: job 1 has ended, and all copies of volume "v" were compared: 2 differing blocks, 1 mended, 3 that could not be compared`)
	r.expect(start(cluster.RepairJob), `job-started: job 2 was ordered: all copies of volume "v" are to be compared, and made equal`)
	r.expect(note(2, 0, cluster.JobFailed, cluster.Counts{}), `!job-ended: job 2 of volume "v" failed: it was in the way`)
	r.expect(start(cluster.VerifyJob), `job-started: job 3 was ordered: all copies of volume "v" are to be compared`)
	r.expect(cluster.Command{CancelJob: &cluster.CancelJob{Job: 3}}, `job-ended: job 3 of volume "v" was cancelled`)
}

// The log holds commands of all kinds, many of them wrong. Some nodes begin with a snapshot.
func TestEveryNodeTellsTheSameOfALog(t *testing.T) {
	text, err := os.ReadFile("../cluster/testdata/v1/log.golden")
	if err != nil {
		t.Fatal(err)
	}
	var log []cluster.Command
	if err := json.Unmarshal(text, &log); err != nil {
		t.Fatal(err)
	}
	var first []byte
	for every := range 3 { // snapshots
		all, last := []Event{}, ID{}
		state := cluster.New()
		for i, c := range log {
			next, r := state.Apply(uint64(i+1), c)
			told := Between(state, next, time.UnixMilli(int64(i)))
			if r.Problem != "" && len(told) > 0 {
				t.Errorf("%s was refused (%s) and told %+v", c.Request, r.Problem, told)
			}
			for _, e := range told {
				if e.ID.Compare(last) <= 0 || e.Text == "" || strings.Contains(e.Text, "%!") {
					t.Errorf("%+v after %v", e, last)
				}
				last = e.ID
			}
			all, state = append(all, told...), next
			if i%97 < every {
				state = reread(t, next)
			}
		}
		got, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) || len(all) < len(log)/4 {
			t.Fatalf("%d events of %d commands, and others than before", len(all), len(log))
		}
		var back []Event
		if err := json.Unmarshal(got, &back); err != nil || len(back) != len(all) || back[0].ID != all[0].ID {
			t.Errorf("%v: %d events of %d come back", err, len(back), len(all))
		}
	}
}

func reread(t *testing.T, s *cluster.State) *cluster.State {
	text, err := json.Marshal(s)
	out := cluster.New()
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnIdentityReadsAsItIsWritten(t *testing.T) {
	for text, want := range map[string]ID{"12.3": {12, 3}, "7": {7, 0}, "0.0": {}} {
		if id, err := Parse(text); err != nil || id != want {
			t.Errorf("%q: %v, %v", text, id, err)
		}
	}
	for _, text := range []string{"", ".", "1.", "-1.0", "1.2.3", "1.4294967296", "x"} {
		if id, err := Parse(text); err == nil {
			t.Errorf("%q is %v", text, id)
		}
	}
}
