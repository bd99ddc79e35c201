package sim

import (
	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// server is a machine with a disk, on which one process at a time runs.
type server struct {
	w       *world
	id      wire.NodeID
	at      place
	drift   int64 // its clock runs by so many parts in 1,000,000 faster
	offset  int64 // of its clock when the world began
	up      bool
	paused  bool
	disk    *disk
	diskID  cluster.DiskID
	witness bool // it has no disk in the pool and no portal
	spare   int  // disks that it was given in place of others
	process *process
	waiting []waiting // what the frozen process has not noticed yet
	applied int       // what its raft log surely holds
	deaf    bool      // its raft lags: nothing new is learnt
}

// waiting is an input of a frozen process. Inputs with the same source keep
// their order; others may overtake them.
type waiting struct {
	source int
	of     *process
	do     func()
}

// clock is CLOCK_BOOTTIME.
func (s *server) clock() int64 {
	return s.offset + s.w.now + s.w.now/1_000_000*s.drift
}

// real is how long the world waits until d has passed on the server's clock.
func (s *server) real(d int64) int64 { return d * 1_000_000 / (1_000_000 + s.drift) }

// Sources of inputs that are not sessions.
const (
	fromTimer   = -1
	fromDisk    = -2
	fromControl = -3
)

// run carries out an input of a process, now or when it is no longer frozen.
func (p *process) run(source int, do func()) {
	switch {
	case !p.alive:
	case p.s.paused:
		p.s.waiting = append(p.s.waiting, waiting{source, p, do})
	default:
		do()
		if p.alive {
			p.drain()
		}
	}
}

// after lets an input happen when d has passed on the server's clock.
func (p *process) after(d int64, do func()) {
	p.s.w.after(p.s.real(d), func() { p.run(fromTimer, do) })
}

func (s *server) pause() {
	s.paused = true
	s.w.note("pause", int64(s.id))
}

// resume lets the process go on: whatever has come meanwhile is noticed, in the
// order of its source, the sources in any order.
func (s *server) resume() {
	if !s.paused {
		return
	}
	s.paused = false
	s.w.note("resume", int64(s.id), int64(len(s.waiting)))
	for len(s.waiting) > 0 && !s.paused {
		i := s.w.rng.IntN(len(s.waiting))
		for k := range i {
			if s.waiting[k].source == s.waiting[i].source {
				i = k
				break
			}
		}
		x := s.waiting[i]
		s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
		x.of.run(x.source, x.do)
	}
}

// kill ends the process. Its kernel closes its connections.
func (s *server) kill() {
	p := s.process
	if p == nil {
		return
	}
	s.w.note("kill", int64(s.id))
	s.end()
	conns, sides := s.w.net.of(s.at)
	for i, c := range conns {
		c.close(sides[i])
	}
}

// end is what the end of a process and of its machine have in common.
func (s *server) end() {
	s.process.alive, s.process.ended = false, s.w.now
	s.process = nil
	s.paused = false
	s.waiting = nil
	s.disk.crash()
}

// crash is a power cut: nobody says anything.
func (s *server) crash() {
	if !s.up {
		return
	}
	s.w.note("crash", int64(s.id))
	s.up = false
	if s.process != nil {
		s.end()
	}
	conns, sides := s.w.net.of(s.at)
	for i, c := range conns {
		c.vanish(sides[i])
	}
	s.w.net.forgetAt(s.at)
}

// start boots the machine if need be, whose clock then begins anew, and starts a process.
func (s *server) start() {
	if s.process != nil {
		return
	}
	if !s.up {
		s.up = true
		s.offset = s.w.between(0, second) - s.w.now - s.w.now/1_000_000*s.drift
	}
	s.w.note("start", int64(s.id))
	s.process = newProcess(s)
	s.process.begin()
}

// reachable says whether a connection to the server's process can be opened,
// and if not, whether its kernel refuses it.
func (s *server) reachable(from place) (open, refused bool) {
	if !s.up || !s.w.net.connected(from, s.at) {
		return false, false
	}
	return s.process != nil && !s.paused, s.process == nil
}
