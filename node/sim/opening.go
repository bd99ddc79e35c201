package sim

import (
	"fmt"

	"ashlar/node/cluster"
)

// open has the cluster note that this run of the node has its disk open.
func (p *process) open() {
	s := p.s
	if s.witness || s.disk.missing || s.disk.failed || p.incarnation == 0 {
		return
	}
	d := p.st.Disks[s.diskID]
	if d == nil || d.Failed || d.Opened == p.incarnation {
		return
	}
	p.propose(cluster.Command{NoteDisk: &cluster.NoteDisk{ID: s.diskID, From: d.Nonce, To: fmt.Sprint(p.number), Incarnation: p.incarnation}},
		func(r cluster.Result) {
			if r.Problem != "" {
				p.after(tickEvery, p.open) // what is noted was not known here yet
			}
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
