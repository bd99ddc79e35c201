package failover

import (
	"math"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// foreseenMax bounds how many commands are looked ahead.
const foreseenMax = 20_000

// Foreseen is what an order would come to, if nothing else happened.
type Foreseen struct {
	Result cluster.Result
	Before *cluster.State
	Next   *cluster.State // right after it
	After  *cluster.State // when the copies have moved that are to move then
	Whole  bool           // After is the end of it: nothing more would move
}

// Foresee applies a command and what the planner of moves asks for then, in memory, and has copies that can
// catch up do so at once. Evening out, which goes on by itself, is left out.
func Foresee(st *cluster.State, c cluster.Command) Foreseen {
	next, r := st.Apply(st.Index+1, c)
	f := Foreseen{Result: r, Before: st, Next: next, After: next, Whole: true}
	if r.Problem != "" {
		return f
	}
	planner, applied := &Moves{evened: math.MaxInt64, most: foreseenMax}, 0
	do := func(c cluster.Command) bool {
		after, r := f.After.Apply(f.After.Index+1, c)
		applied++
		if r.Problem == "" {
			f.After = after
		}
		return r.Problem == ""
	}
	for now := movesEvery; ; now += movesEvery {
		progress := false
		for _, c := range planner.Tick(now, f.After) {
			if applied >= foreseenMax {
				f.Whole = false
				return f
			}
			progress = do(c) || progress
		}
		if !progress {
			return f
		}
		for _, c := range caughtUp(f.After) {
			do(c)
		}
	}
}

// caughtUp are the commands that take all copies that are on their way into their sets.
func caughtUp(st *cluster.State) (out []cluster.Command) {
	for _, id := range st.VolumeIDs() {
		v := st.Volumes[id]
		joins := map[wire.NodeID]*cluster.Join{}
		for i, g := range v.Segments {
			x := g.Coming()
			if x == nil || x.InSync || !st.Usable(*x) {
				continue
			}
			if joins[x.Node] == nil {
				joins[x.Node] = &cluster.Join{Volume: id, Epoch: v.Epoch, Node: x.Node, Incarnation: st.Nodes[x.Node].Incarnation}
			}
			joins[x.Node].Segments = append(joins[x.Node].Segments, cluster.SegmentGen{Segment: wire.Segment(i), Gen: g.Gen})
		}
		for _, n := range st.NodeIDs() {
			if joins[n] != nil {
				out = append(out, cluster.Command{Join: joins[n]})
			}
		}
	}
	return out
}
