// Package pace decides how fast copies are made anew beside what hosts do. It is
// pure: what hosts wait for comes in, a rate comes out.
//
// Hosts come first, and yet a rebuild has to end: while it lasts the next loss
// may be one too many. So the rate has a floor, below which hosts' waiting does
// not press it, and a ceiling. In between it grows as long as hosts wait about as long as they
// did before the copying began, and shrinks as soon as they wait longer.
package pace

// Limits of the rate, bytes per second.
type Limits struct{ Floor, Ceiling uint64 }

const (
	lookEvery = int64(500_000_000)

	growth  = 1.2 // of the rate at each look at which hosts are well
	retreat = 0.3 // at most, at each at which they are not: as far as they wait too long

	hearsEvery = int64(1_500_000_000) // what is measured lags behind, so a retreat is given time to be felt

	tolerated = 2                  // times what hosts waited for before,
	least     = int64(5_000_000)   // and never less than this is taken for too long, ns
	most      = int64(250_000_000) // nor more
)

// Measure is what a node's heads saw of their hosts in the last seconds.
type Measure struct {
	Copying bool  // some copy catches up
	P99     int64 // of the hosts' operations, ns; 0: there were none
}

// Pacer is a node's.
type Pacer struct {
	looked int64
	yields int64 // until when the last retreat is given time
	usual  int64 // P99 when nothing was copied, ns; 0: not known
	rate   float64
}

// Tick gives the rate that all copying on the node may have now, bytes per
// second. Now is in ns, and never goes back.
func (p *Pacer) Tick(now int64, m Measure, l Limits) uint64 {
	floor, ceiling := float64(l.Floor), float64(max(l.Floor, l.Ceiling))
	switch {
	case !m.Copying:
		p.rate, p.looked = floor, now
		if m.P99 != 0 {
			p.usual = m.P99
		}
	case now-p.looked >= lookEvery && now >= p.yields:
		p.looked = now
		if b := p.bearable(); m.P99 > b {
			p.rate *= max(float64(b)/float64(m.P99), retreat)
			p.yields = now + hearsEvery
		} else {
			p.rate *= growth
		}
	}
	p.rate = min(max(p.rate, floor), ceiling)
	return uint64(p.rate)
}

// bearable is what hosts may wait for, ns.
func (p *Pacer) bearable() int64 { return min(max(tolerated*p.usual, least), most) }
