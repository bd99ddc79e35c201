package sim

import (
	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// shape is what a schedule is like, besides its faults: what hosts do, where, how
// often, and how slow disks and wires are at their best. It is drawn from the seed
// as the kinds of faults are, since what happens all the time hides what needs quiet.
type shape struct {
	hot    []int          // blocks on which operations meet
	stray  float64        // the part of them that goes to any block
	idle   int64          // up to so long between two operations of a worker
	depth  int            // workers of a host and volume, at most
	mix    []int          // how often each item of the menu is asked for
	resets float64        // the part of hosts and volumes with resets
	disk   int64          // up to so much is added to each job of every disk
	pace   uint64         // of copies that catch up, bytes per second; 0: as fast as they can
	wire   int64          // up to so much is added to each delay between nodes
	taps   float64        // how often a fault follows on a change of who holds what
	within int64          // so soon
	follow []func(*world) // what follows
	late   bool           // a machine that lost its power may begin without its disk
}

// plain is a shape without a bias.
func plain() shape {
	s := shape{hot: []int{0, segmentBlocks - 1, segmentBlocks, 3}, stray: 0.2, idle: 195 * millisecond, depth: 2, resets: 0.3}
	for _, m := range menu {
		s.mix = append(s.mix, m.share)
	}
	return s
}

// swarm draws a world and its faults from the seed: some kinds often, most not
// at all, since faults that happen all the time hide one another.
func swarm(o Options) *world {
	pick := newTimeline(o.Seed ^ 0x5ca1ab1e)
	nodes := 3 + pick.rng.IntN(3)
	voters := 3
	if nodes == 5 && pick.chance(0.5) {
		voters = 5
	}
	volumes, hosts := []volumePlan{{segments: 2 + pick.rng.IntN(2), copies: 2}, {segments: 2, copies: 3}}, 3+pick.rng.IntN(2)
	if pick.chance(0.5) { // all of it on one small volume
		nodes, voters = 3+pick.rng.IntN(2), 3
		volumes, hosts = []volumePlan{{segments: 2, copies: 2 + pick.rng.IntN(2)}}, 2+pick.rng.IntN(3)
	}
	f := faults{duplicates: pick.chance(0.4), lasts: pick.between(8*second, 18*second), every: map[string]int64{}}
	share, least, most := 0.3, second, 8*second
	switch pick.rng.IntN(4) {
	case 0: // few kinds, often
		share, least, most = 0.12, 500*millisecond, 3*second
	case 1: // many, seldom
		share, least, most = 0.5, 3*second, 12*second
	}
	for _, k := range nemesis {
		if pick.chance(share) {
			f.every[k.kind] = pick.between(least, most)
		}
	}
	witnesses := 0
	if nodes == 3 && pick.chance(0.4) {
		witnesses = 1
		for i := range volumes {
			volumes[i].copies = 2
		}
	}
	caches := newTimeline(o.Seed ^ 0xcac4ed)
	for i := range volumes {
		volumes[i].cache = caches.chance(0.35)
	}
	w := newWorld(o, nodes, voters, witnesses, hosts, volumes)
	w.faults = f
	w.shape = pick.bias(w.shape)
	w.growing = pick.chance(0.3)
	w.scrubEvery = pick.between(50*millisecond, second)
	w.shape.late = pick.chance(0.5)
	return w
}

// bias changes each trait of a shape by itself.
func (t *timeline) bias(s shape) shape {
	switch t.rng.IntN(5) {
	case 0:
		s.idle, s.depth = t.between(20*millisecond, 100*millisecond), 1
	case 1:
		s.idle, s.depth = t.between(200*millisecond, 800*millisecond), 3
	case 2, 3: // on one or two blocks, where more at a time would be too hard to judge
		s.hot, s.stray, s.depth = s.hot[:1+t.rng.IntN(2)], 0.1, 1
	}
	if t.chance(0.6) {
		for i := range s.mix {
			s.mix[i] *= []int{0, 1, 1, 5}[t.rng.IntN(4)]
		}
		s.mix[writeBlock]++
		s.mix[readBlocks]++
	}
	s.resets = []float64{0, 0.3, 1}[t.rng.IntN(3)]
	if t.chance(0.3) {
		s.disk = t.between(2*millisecond, 60*millisecond)
	}
	if t.chance(0.3) {
		s.wire = t.between(millisecond, 30*millisecond)
	}
	if t.chance(0.2) {
		s.pace = uint64(t.between(16<<10, 256<<10))
	}
	if t.chance(0.6) {
		s.taps, s.within = 0.1+0.4*t.rng.Float64(), t.between(20*millisecond, 1500*millisecond)
		for range 1 + t.rng.IntN(4) {
			if k := nemesis[t.rng.IntN(len(nemesis))]; k.taps {
				s.follow = append(s.follow, k.do)
			}
		}
	}
	return s
}

// tap strikes soon after a change, most often at whom it is about: remedies that a
// single fault does not try are tried by a second one in the midst of the first's.
func (w *world) tap(about ...wire.NodeID) {
	if w.calm || !w.working || len(w.shape.follow) == 0 || !w.chance(w.shape.taps) {
		return
	}
	do := w.shape.follow[w.rng.IntN(len(w.shape.follow))]
	w.after(w.between(0, w.shape.within), func() {
		if w.calm {
			return
		}
		w.kinds["second fault"]++
		w.note("second fault")
		w.aim = about
		do(w)
		w.aim = nil
	})
}

// changed is called with each command that was carried out.
func (w *world) changed(c cluster.Command) {
	switch {
	case c.Register != nil:
		w.tap(c.Register.Node)
	case c.Join != nil:
		w.tap(c.Join.Node)
	case c.DropReplica != nil:
		w.kinds["copy moved"]++
		w.tap()
	case c.Eject != nil, c.Fence != nil:
		w.tap()
	}
}

// anyServer is one of all, or, after a change, often one that it is about.
func (w *world) anyServer() *server {
	if len(w.aim) > 0 && w.chance(0.7) {
		return w.server(w.aim[w.rng.IntN(len(w.aim))])
	}
	return w.servers[w.rng.IntN(len(w.servers))]
}
