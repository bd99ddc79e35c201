package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// A portal's verdicts: what became of the answers to commands that may have a
// claim. An orphaned claim is honoured when its host repeats the command, so it
// must be true that the host has not heard, and will not hear, the first answer.

// For how long the head may still want to hear a verdict.
const (
	settledLife  = 5 * Second
	orphanedLife = claimLife
	verdictsMax  = 8192
	sayAgain     = 1 * Second
)

// verdict is one.
type verdict struct {
	number   uint64
	orphaned bool
	repeated bool
	at       int64
}

// Settle says of an answered Request's Claim, once, whether its host has
// acknowledged the answer, or never will because its session is over.
func (p *Portal) Settle(now int64, claim uint64, acknowledged bool) {
	p.now = now
	p.judge(claim, !acknowledged)
	p.pump()
}

// conclude decides what becomes of the claim that an ended request may have. A
// command that was sent and is not answered with what came of it may have been
// carried out all the same.
func (p *Portal) conclude(r *Request) {
	switch {
	case r.number == 0 || !r.tried || r.Status == wire.Miscompare:
	case r.Status == wire.OK:
		r.Claim = r.number
	default:
		p.judge(r.number, true)
	}
}

func (p *Portal) judge(number uint64, orphaned bool) {
	p.unsaid = append(p.unsaid, verdict{number: number, orphaned: orphaned, at: p.now})
}

// say tells the head what it was not told yet. A head that comes later is told
// again, since the former one may not have passed it on, and so is this one after
// a while, since it may not have known yet that it is the head.
func (p *Portal) say() {
	if len(p.unsaid) == 0 {
		return
	}
	m := &wire.Settle{Volume: p.volume, Portal: p.self}
	for _, v := range p.unsaid {
		if v.orphaned {
			m.Orphaned = append(m.Orphaned, v.number)
		} else {
			m.Settled = append(m.Settled, v.number)
		}
	}
	p.said, p.unsaid = append(p.said, p.unsaid...), nil
	p.out.Sends = append(p.out.Sends, Send{p.head, m})
}

func (p *Portal) repeatVerdicts() {
	old := func(v verdict) bool {
		return p.now-v.at > orphanedLife || !v.orphaned && p.now-v.at > settledLife
	}
	p.said, p.unsaid = slices.DeleteFunc(p.said, old), slices.DeleteFunc(p.unsaid, old)
	p.said = p.said[max(0, len(p.said)-verdictsMax):]
	p.unsaid = p.unsaid[max(0, len(p.unsaid)-verdictsMax):]
	p.said = slices.DeleteFunc(p.said, func(v verdict) bool {
		due := !v.repeated && p.now-v.at > sayAgain
		if due {
			v.repeated = true
			p.unsaid = append(p.unsaid, v)
		}
		return due
	})
}
