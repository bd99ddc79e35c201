package scsi

// A reset of a unit, or the clearing of its task set, that a host has asked for
// through another target or another node: the tasks here end with BUSY, since nothing
// of them takes effect any more and their hosts may send them again at once.

// OnClear has the carrier end its tasks on logical units that match says are
// meant, and that wait for data, so that the unit does not know of them. clear
// returns how many there are, and is called from any goroutine.
func (n *Nexus) OnClear(clear func(match func(lun uint64) bool) int) {
	n.mu.Lock()
	n.clear = clear
	n.mu.Unlock()
}

// clearTasks ends all tasks on a unit. With tell, nexuses that have lost some are
// told so.
func (t *Target) clearTasks(u *unit, tell bool) {
	t.mu.Lock()
	nexuses := make([]*Nexus, 0, len(t.nexuses))
	for n := range t.nexuses {
		nexuses = append(nexuses, n)
	}
	t.mu.Unlock()
	for _, n := range nexuses {
		if ended := n.clearTasks(u); tell && ended > 0 {
			n.raise(u, commandsCleared)
		}
	}
}

func (n *Nexus) clearTasks(u *unit) (ended int) {
	n.mu.Lock()
	clear := n.clear
	for t := n.first; t != nil; t = t.next {
		if t.unit == u {
			t.cut.Store(true)
			ended++
		}
	}
	n.mu.Unlock()
	if clear != nil {
		ended += clear(func(lun uint64) bool { return n.target.unit(lun) == u })
	}
	return ended
}
