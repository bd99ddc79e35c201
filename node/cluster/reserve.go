package cluster

import (
	"ashlar/replication/wire"
	"ashlar/target/reserve"
)

// Reserve changes a volume's reservations. It names no epoch: a head that takes
// over is asked again by the same Request, and has to find the answer that the
// former one did not get to give.
type Reserve struct {
	Volume  wire.VolumeID
	Request reserve.Request
}

// Reserved is what a Reserve came to, true from State.Change on.
type Reserved struct {
	Result reserve.Result
	Change uint64
}

func (s *State) reserve(c *Reserve) Result {
	if s.Volumes[c.Volume] == nil {
		return problem(NotFound, "no volume %d", c.Volume)
	}
	change, result := s.changeReservations(c.Volume, c.Request)
	return Result{Volume: c.Volume, Reserved: &Reserved{result, change}}
}

func (s *State) changeReservations(id wire.VolumeID, r reserve.Request) (change uint64, result reserve.Result) {
	var before reserve.State
	if now := s.Volumes[id].Reservations; now != nil {
		before = *now
	}
	after, result := reserve.Apply(before, r)
	if after.Change != before.Change {
		s.editVolume(id).Reservations = &after
	}
	return after.Change, result
}

// endSessions ends the RESERVE(6) of the sessions that came in at a node, whose
// incarnation is over.
func (s *State) endSessions(n wire.NodeID) {
	for _, id := range s.VolumeIDs() {
		if r := s.Volumes[id].Reservations; r != nil && r.Unit != nil {
			s.changeReservations(id, reserve.Request{Kind: reserve.PortLost, Nexus: reserve.Nexus{Port: uint16(n)}})
		}
	}
}
