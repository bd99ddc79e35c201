package sim

import (
	"ashlar/node/failover"
	"ashlar/replication/wire"
)

// What nodes measure, and tell the leader with their renewals. It leaves nothing
// to chance, so that it changes nothing of what it measures.

// measure asks the other nodes, and writes to an idle disk.
func (p *process) measure() {
	var reached []wire.NodeID
	for _, n := range p.peers() {
		if p.out[n] != nil {
			reached = append(reached, n)
		}
	}
	for _, q := range p.links.Tick(p.now(), reached) {
		to := p.w.server(q.To)
		p.w.net.probe(p.s.at, to.at, func() {
			if o := to.process; o != nil {
				o.run(fromControl, func() {
					p.w.net.probe(to.at, p.s.at, func() {
						p.run(fromControl, func() { p.links.Answered(p.now(), q.To, q.ID) })
					})
				})
			}
		})
	}
	if d := p.s.disk; !p.beating && len(d.pending) == 0 && !d.failed && !d.missing {
		p.beating = true
		began := d.now
		d.after(delayHigh+d.slow/2, func() {
			p.beating = false
			d.took.Add(d.now, d.now-began)
		})
	}
}

// probe brings a question, or is lost with it.
func (n *network) probe(a, b place, arrive func()) {
	if l := n.link(a, b); !l.cut {
		n.after(delayHigh+l.slow/2, arrive)
	}
}

func (p *process) report() failover.Report {
	r := failover.Report{Links: p.links.Recent(p.now())}
	d := p.s.disk
	sum, oldest := d.took.Recent(d.now), int64(0)
	for _, w := range d.pending {
		oldest = max(oldest, d.now-w.began)
	}
	if !d.failed && !d.missing {
		r.Disks = []failover.DiskFacts{{Disk: p.s.diskID, Facts: sum.Facts(oldest)}}
	}
	var m failover.Meter
	for _, x := range p.reigns {
		if !x.over {
			m.Add(x.volume, x.epoch, x.head.Load(p.now()))
		}
	}
	m.Fill(&r)
	return r
}

// wall is the node's clock for people, ms; those of two nodes differ by seconds.
func (p *process) wall() int64 {
	return 1_700_000_000_000 + p.w.now/millisecond + int64(p.s.id)*1300
}
