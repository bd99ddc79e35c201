package sim

import (
	"fmt"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// open has the cluster note that this run of the node has its disk open, when it does not know yet.
func (p *process) open() {
	s := p.s
	d := p.st.Disks[s.diskID]
	if !p.active || p.opening || s.disk.missing || s.disk.failed || d == nil || d.Failed || d.Opened == p.incarnation {
		return
	}
	p.opening = true
	p.propose(cluster.Command{NoteDisk: &cluster.NoteDisk{ID: s.diskID, From: d.Nonce, To: fmt.Sprint(p.number), Incarnation: p.incarnation}},
		func(cluster.Result) {
			p.after(tickEvery, func() {
				p.opening = false
				p.open() // what was noted may not have been known here yet
			})
		})
}

// mislay has a machine that is off begin without its disk, which is there after a while.
func (s *server) mislay() {
	d := s.disk
	d.missing = true
	s.w.kinds["late disk"]++
	s.w.after(s.w.outage(), func() { s.find(d) })
}

// find is that a disk is there again.
func (s *server) find(d *disk) {
	if !d.missing {
		return
	}
	d.missing = false
	s.w.note("disk found", int64(s.id))
	if p := s.process; p != nil {
		p.run(fromDisk, func() {
			if p.active {
				p.place()
			}
			p.open()
		})
	}
}

// outranks says whether a disk that was found since the promises were read has promised a higher epoch than a request to a copy is of. It
// promises that one else, before its copies are used.
func (d *disk) outranks(v wire.VolumeID, m wire.Message) bool {
	_, epoch, ok := wire.CopyOf(m)
	if !ok || d.bugs.Mirror.NoPromise || d.bugs.Mirror.NoEpochCheck || d.failed {
		return false
	}
	if epoch < d.promises[v] {
		return true
	}
	d.promises[v] = epoch
	return false
}
