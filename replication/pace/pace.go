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

	growth  = 1.25 // of the rate at each look at which hosts are well
	retreat = 0.6  // at each at which they are not

	tolerated = 3                  // times what hosts waited for before,
	least     = int64(20_000_000)  // and never less than this is taken for too long, ns
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
	case now-p.looked >= lookEvery:
		p.looked = now
		if m.P99 > p.bearable() {
			p.rate *= retreat
		} else {
			p.rate *= growth
		}
	}
	p.rate = min(max(p.rate, floor), ceiling)
	return uint64(p.rate)
}

// bearable is what hosts may wait for, ns.
func (p *Pacer) bearable() int64 { return min(max(tolerated*p.usual, least), most) }
