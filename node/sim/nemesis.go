package sim

import (
	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// faults are what a schedule suffers: a subset of the kinds, each at its own rate.
type faults struct {
	duplicates bool // commands come twice, and late
	lasts      int64
	every      map[string]int64 // mean time between faults of a kind
}

// nemesis lists the kinds of faults in a fixed order.
var nemesis = []struct {
	kind string
	do   func(*world)
	taps bool // it may also follow at once on a change
}{
	{"kill", func(w *world) { w.anyServer().strike(false) }, true},
	{"crash", func(w *world) { w.anyServer().strike(true) }, true},
	{"pause", (*world).pauseOne, true},
	{"isolate", (*world).isolate, true},
	{"cut", (*world).cutPair, true},
	{"one-way", (*world).cutOneWay, true},
	{"slow", (*world).slowLink, true},
	{"reset", (*world).resetSome, true},
	{"slow disk", (*world).slowDisk, true},
	{"kill all", (*world).killAll, true},
	{"leader and head", (*world).killLeaderAndHead, true},
	{"move head", (*world).moveHead, true},
	{"move copy", (*world).moveCopy, false},
	{"host path", (*world).cutHost, true},
	{"rot", (*world).rot, false},
	{"raft lag", (*world).lag, true},
	{"lying disk", (*world).loseWrite, false},
	{"straying disk", (*world).misplaceWrite, false},
	{"lost metadata", (*world).loseMetadata, false},
	{"write error", (*world).failDisk, true},
	{"full disk", (*world).fillDisk, false},
	{"drain", (*world).drainDisk, true},
}

// live is a schedule: work under faults, then calm, in which everything must end well.
func (w *world) live() {
	w.working = true
	w.run(2 * second) // until leases and a leader are there
	w.work()
	for _, k := range nemesis {
		if mean := w.faults.every[k.kind]; mean > 0 {
			w.haunt(k.kind, mean, k.do)
		}
	}
	if w.growing {
		w.haunt("grow", 3*second, (*world).grow)
	}
	w.run(w.faults.lasts)
	w.heal()
	w.run(w.between(0, 3*second))
	w.working = false
	w.settle()
	w.ended = true
}

// settle waits until all is well, and stays so. What was slow, or lost blocks, may leave
// its sets once more, and then has as long to be back.
func (w *world) settle() {
	for range 3 {
		w.until(60*second, w.whole)
		w.run(3 * second)
		if w.whole() {
			return
		}
	}
}

func (w *world) haunt(kind string, mean int64, do func(*world)) {
	w.after(w.between(0, 2*mean), func() {
		if w.calm {
			return
		}
		w.kinds[kind]++
		w.note(kind)
		do(w)
		w.haunt(kind, mean, do)
	})
}

// heal ends all faults. What slow links hold comes as late as it would have.
func (w *world) heal() {
	w.calm, w.healed = true, w.now
	for _, c := range w.net.conns {
		w.healed = max(w.healed, c.ends[0].arrives, c.ends[1].arrives)
	}
	w.note("calm")
	w.faults.duplicates = false
	w.scrubEvery = 100 * millisecond
	for a := range len(w.servers) + len(w.hosts) {
		for b := range len(w.servers) + len(w.hosts) {
			w.net.mend(place(a), place(b))
			w.net.link(place(a), place(b)).slow = 0
		}
	}
	for _, s := range w.servers {
		s.disk.slow, s.disk.low, s.disk.full, s.disk.trick = 0, false, false, honest
		s.deaf = false
		s.find(s.disk)
		s.resume()
		s.start()
	}
}

// forgotten is how long a node reports what it has measured.
const forgotten = 7 * second

// whole says whether all operations have ended and all copies are in sync, and
// the faults are long enough ago that no copy leaves because it was slow then.
func (w *world) whole() bool {
	if w.now-w.healed <= forgotten {
		return false
	}
	for _, op := range w.operations {
		if op.ended == 0 {
			return false
		}
	}
	return w.unsynced() == 0 && !w.moving() && w.unsound() == 0 && !w.ejects()
}

func (w *world) unsynced() (n int) {
	st := w.raft.last()
	for _, v := range st.Volumes {
		for _, g := range v.Segments {
			for _, r := range g.Replicas {
				if !r.InSync || r.Forgot {
					n++
				}
			}
		}
	}
	return n
}

// strike ends a process, or its machine, for a while.
func (s *server) strike(power bool) {
	if power {
		s.crash()
		if s.w.shape.late && s.w.chance(0.2) {
			s.mislay()
		}
	} else {
		s.kill()
	}
	s.w.after(s.w.outage(), s.start)
}

// outage is how long a fault lasts: often about as long as a lease or a time
// limit, sometimes much shorter or longer.
func (w *world) outage() int64 {
	switch w.rng.IntN(4) {
	case 0:
		return w.between(10*millisecond, 500*millisecond)
	case 1:
		return w.between(3*second, 8*second)
	}
	return w.between(500*millisecond, 3*second)
}

func (w *world) pauseOne() {
	s := w.anyServer()
	if s.process == nil || s.paused {
		return
	}
	s.pause()
	w.after(w.outage(), s.resume)
}

// isolate cuts a node from the other nodes, and perhaps from the hosts.
func (w *world) isolate() {
	s := w.anyServer()
	all := len(w.servers)
	if w.chance(0.3) {
		all += len(w.hosts)
	}
	for b := range all {
		if place(b) != s.at {
			w.net.sever(s.at, place(b))
			w.net.sever(place(b), s.at)
		}
	}
	w.after(w.outage(), func() {
		for b := range all {
			w.net.mend(s.at, place(b))
			w.net.mend(place(b), s.at)
		}
	})
}

func (w *world) pair() (a, b place) {
	i := int(w.anyServer().at)
	j := (i + 1 + w.rng.IntN(len(w.servers)-1)) % len(w.servers)
	return place(i), place(j)
}

func (w *world) cutPair() {
	a, b := w.pair()
	w.net.sever(a, b)
	w.net.sever(b, a)
	w.after(w.outage(), func() { w.net.mend(a, b); w.net.mend(b, a) })
}

func (w *world) cutOneWay() {
	a, b := w.pair()
	w.net.sever(a, b)
	w.after(w.outage(), func() { w.net.mend(a, b) })
}

func (w *world) cutHost() {
	a := place(len(w.servers) + w.rng.IntN(len(w.hosts)))
	b := w.anyServer().at
	back := w.chance(0.7)
	w.net.sever(a, b)
	if back {
		w.net.sever(b, a)
	}
	w.after(w.outage(), func() {
		w.net.mend(a, b)
		if back {
			w.net.mend(b, a)
		}
	})
}

func (w *world) slowLink() {
	a, b := w.pair()
	l := w.net.link(a, b)
	l.slow = w.between(millisecond, 1200*millisecond)
	if w.chance(0.3) {
		l.slow = w.between(4*second, 10*second) // a queue that somebody forgot to bound
	}
	w.after(w.outage(), func() { l.slow = 0 })
}

func (w *world) resetSome() {
	if len(w.net.conns) > 0 {
		w.net.reset(w.net.conns[w.rng.IntN(len(w.net.conns))])
	}
}

// lag lets a node's raft fall behind while all else goes on, as a slow disk
// under its log does.
func (w *world) lag() {
	s := w.anyServer()
	s.deaf = true
	w.after(w.outage(), func() { s.deaf = false })
}

func (w *world) slowDisk() {
	d := w.anyServer().disk
	d.slow = w.between(5*millisecond, 2*second)
	w.after(w.outage(), func() { d.slow = 0 })
}

func (w *world) killAll() {
	power := w.chance(0.5)
	for _, s := range w.servers {
		s.strike(power)
	}
}

func (w *world) killLeaderAndHead() {
	power := w.chance(0.5)
	if w.raft.leader != 0 {
		w.server(w.raft.leader).strike(power)
	}
	v := w.raft.last().Volumes[wire.VolumeID(1+w.rng.IntN(len(w.volumes)))]
	if v.Head != 0 && v.Head != w.raft.leader {
		w.server(v.Head).strike(power)
	}
}

// order is what an operator asks any node for.
func (w *world) order(c cluster.Command) {
	if p := w.anyServer().process; p != nil {
		p.run(fromControl, func() { p.propose(c, func(cluster.Result) {}) })
	}
}

func (w *world) moveHead() {
	v := w.raft.last().Volumes[wire.VolumeID(1+w.rng.IntN(len(w.volumes)))]
	to := w.anyServer().id // perhaps one without a copy
	if w.chance(0.3) {
		to = 0
	}
	w.order(cluster.Command{MoveHead: &cluster.MoveHead{Volume: v.ID, Epoch: v.Epoch, To: to}})
}

const segmentsMax = 6

// grow gives a volume one more segment.
func (w *world) grow() {
	v := w.raft.last().Volumes[wire.VolumeID(1+w.rng.IntN(len(w.volumes)))]
	if len(v.Segments) < segmentsMax {
		w.order(cluster.Command{ResizeVolume: &cluster.ResizeVolume{Name: v.Name, Bytes: v.Bytes + segmentBytes}})
	}
}

// moveCopy replaces a copy that is not in sync by an empty one elsewhere, and
// perhaps that one by another at the first place.
func (w *world) moveCopy() {
	st := w.raft.last()
	for _, id := range st.VolumeIDs() {
		for i, g := range st.Volumes[id].Segments {
			for _, r := range g.Replicas {
				to := w.anyServer()
				if r.InSync || g.On(to.id) != nil {
					continue
				}
				move := func(from, to cluster.DiskID) {
					gen := w.raft.last().Volumes[id].Segments[i].Gen
					w.order(cluster.Command{MoveReplica: &cluster.MoveReplica{Volume: id, Segment: wire.Segment(i), Gen: gen, From: from, To: to}})
				}
				move(r.Disk, to.diskID)
				if w.chance(0.5) {
					w.after(w.between(10*millisecond, 200*millisecond), func() { move(to.diskID, r.Disk) })
				}
				return
			}
		}
	}
}
