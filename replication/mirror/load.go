package mirror

import (
	"slices"

	"ashlar/replication/latency"
	"ashlar/replication/wire"
)

// Load is what a head's writes take, and how full its window is.
type Load struct {
	Writes     latency.Sum // from the submission of a host's write to its answer, in the last minute
	Recent     latency.Sum // the same of reads and writes, in the last seconds
	Hops       []Hop       // by node
	Operations int         // in the window, of WindowOps
	Bytes      int         // of WindowBytes
	Full       int64       // when an operation last found no room in it; 0: never
}

// Hop is the way of writes to one node's copies and back.
type Hop struct {
	Node           wire.NodeID
	Promised       bool // it has promised the epoch of this head
	Recent, Minute latency.Sum
	Oldest         int64 // how long the one waits that was sent first of those without an answer, ns
}

// Waiting is how many operations are not answered, or are still worked on, with the copies that catch up or are compared.
func (h *Head) Waiting() int { return len(h.ops) + h.joining + len(h.scrubs) }

// Idle says whether ticks change nothing soon: no operation, request, copying or comparing is under way, and all segments serve.
func (h *Head) Idle() bool {
	return h.Waiting() == 0 && len(h.calls)+len(h.retries)+len(h.clearings)+len(h.changes)+len(h.leaseless)+len(h.unstable) == 0 &&
		!slices.ContainsFunc(h.segments, func(s *segment) bool { return s.state == preparing })
}

// Load is measured up to now. It costs a look at every request under way.
func (h *Head) Load(now int64) Load {
	l := Load{Writes: h.took.Minute(now), Recent: h.served.Recent(now), Operations: len(h.ops), Bytes: h.bytesHeld, Full: h.full}
	oldest := map[wire.NodeID]int64{}
	for _, c := range h.calls {
		if ordered(c.msg) {
			oldest[c.node] = max(oldest[c.node], now-c.sent)
		}
	}
	for _, n := range h.peerIDs() {
		p := h.peers[n]
		l.Hops = append(l.Hops, Hop{Node: n, Promised: p.promised, Recent: p.took.Recent(now), Minute: p.took.Minute(now), Oldest: oldest[n]})
	}
	return l
}

// ordered says whether a request is a write that its head has given a sequence
// number, so that somebody may wait for it; others catch a copy up.
func ordered(m wire.Message) bool {
	w, ok := m.(*wire.Write)
	return ok && w.Versions == nil
}

// How long a copy that catches up may hold writes up, and how long it is then
// left alone, ns: doubled each time, up to the most.
const (
	joinPatience = StuckMax
	joinPause    = 1 * Second
	joinPauseMax = 30 * Second
)

// giveUpJoins drops the copies that catch up and hold writes up. Nothing is lost
// with them but their progress: only the cluster's set has to have a write.
func (h *Head) giveUpJoins() {
	if h.bugs.JoinerKept || h.joining == 0 {
		return
	}
	for _, s := range h.segments {
		for _, n := range joinerIDs(s) {
			j := s.joiners[n] // nil: it went with one before
			if j == nil || j.stage == joinPropose || !h.heldUpBy(s, n) {
				continue
			}
			p := h.peer(n)
			p.pause = min(max(2*p.pause, joinPause), joinPauseMax)
			p.joinsFrom = h.now + p.pause
			h.dropJoin(s, n)
		}
	}
}

func (h *Head) heldUpBy(s *segment, n wire.NodeID) bool {
	for _, f := range s.flight {
		if c := h.calls[f.pending.by(n)]; c != nil && h.now-c.sent > joinPatience {
			return true
		}
	}
	return false
}
