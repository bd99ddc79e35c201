package lease

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ashlar/replication/wire"
)

// model runs real holders and voters on clocks of their own, over a network that
// delays and loses, with restarts, changes of the voters, and fences tried as
// soon as anybody may. Time in it is real time, ns; one step is 5 ms.
type model struct {
	*rand.Rand
	spread      float64 // of the clocks' rates
	oldBallots  bool    // planted: a ballot outlives its voter's incarnation
	anyVersion  bool    // planted: grants of all configurations add up
	onlyElected bool    // planted: only who becomes a voter waits, not all voters
	rash        bool    // planted: voters keep their promises for half their time

	changes int // one change of the voters in that many steps; 0: none

	now       int64
	nodes     []*process // by number - 1
	configs   [][]wire.NodeID
	committed int // the latest configuration that a majority of it knows
	up        map[wire.NodeID]wire.Incarnation
	ballots   map[target]map[wire.NodeID]ballot
	messages  []message

	fences, valid int
}

type target struct {
	node        wire.NodeID
	incarnation wire.Incarnation
}

type ballot struct {
	incarnation wire.Incarnation
	version     int
}

type message struct {
	at int64
	do func()
}

type process struct {
	id          wire.NodeID
	incarnation wire.Incarnation
	rate        float64
	offset      int64
	holder      *Holder
	voter       *Voter
	config      int // the latest in its log
	known       map[wire.NodeID]wire.Incarnation
	cutUntil    int64
	deaf, mute  bool // while cut
}

const step = 5 * ms

func newModel(seed uint64, spread float64) *model {
	m := &model{Rand: rand.New(rand.NewPCG(seed, 3)), spread: spread, up: map[wire.NodeID]wire.Incarnation{},
		ballots: map[target]map[wire.NodeID]ballot{}, configs: [][]wire.NodeID{{1, 2, 3}}}
	m.changes = []int{0, 0, 2000, 100}[m.IntN(4)]
	for i := range 5 {
		p := &process{id: wire.NodeID(i + 1), rate: 1 + spread*(m.Float64()-0.5), offset: m.Int64N(1 << 40), known: map[wire.NodeID]wire.Incarnation{}}
		if m.IntN(2) == 0 { // at an end, where it matters
			p.rate = 1 + spread*(float64(m.IntN(2))-0.5)
		}
		m.nodes = append(m.nodes, p)
		m.start(p)
	}
	return m
}

func (m *model) clock(p *process) int64 { return p.offset + int64(float64(m.now)*p.rate) }

// start registers the next incarnation, whose process knows all that is agreed.
func (m *model) start(p *process) {
	p.incarnation++
	m.up[p.id] = p.incarnation
	for n, i := range m.up {
		p.known[n] = i
	}
	p.holder, p.voter = NewHolder(p.id, p.incarnation), NewVoter(p.id, m.clock(p))
}

func (m *model) post(from, to *process, do func()) {
	if from != to && (m.now < from.cutUntil && from.mute || m.now < to.cutUntil && to.deaf) {
		return
	}
	delay := m.Int64N(3) * m.Int64N(60) * ms
	incarnation := to.incarnation
	m.messages = append(m.messages, message{m.now + delay, func() {
		if to.incarnation == incarnation { // sessions die with a process
			do()
		}
	}})
}

func (m *model) deliver() {
	var due []message
	m.messages = slices.DeleteFunc(m.messages, func(x message) bool {
		if x.at <= m.now {
			due = append(due, x)
		}
		return x.at <= m.now
	})
	for _, x := range due {
		x.do()
	}
}

func (m *model) renew(p *process) {
	r := p.holder.Tick(m.clock(p))
	if r == nil {
		return
	}
	for _, id := range m.configs[p.config] {
		v := m.nodes[id-1]
		m.post(p, v, func() {
			g := v.voter.Renew(m.clock(v), *r, v.known[p.id], uint64(v.config))
			if m.anyVersion {
				g.Version = 0
			}
			m.post(v, p, func() { p.holder.Granted(g) })
		})
	}
}

// faults cuts, restarts, changes the voters, and lets knowledge spread.
func (m *model) faults(p *process) {
	if m.now >= p.cutUntil && m.IntN(600) == 0 {
		p.cutUntil = m.now + m.Int64N(4000)*ms
		p.deaf, p.mute = m.IntN(3) > 0, m.IntN(3) > 0
	}
	if m.IntN(1200) == 0 || m.up[p.id] == 0 && m.IntN(200) == 0 {
		m.start(p)
	}
	if n := wire.NodeID(1 + m.IntN(len(m.nodes))); m.IntN(4) == 0 {
		p.known[n] = m.up[n]
	}
	if last := len(m.configs) - 1; p.config < last && m.IntN(100) == 0 {
		was := slices.Contains(m.configs[p.config], p.id)
		if p.config++; !m.onlyElected || !was && slices.Contains(m.configs[p.config], p.id) {
			p.voter.Reconfigured(m.clock(p))
		}
	}
}

// reconfigure adds or removes one voter, once the last change is committed.
func (m *model) reconfigure() {
	last := len(m.configs) - 1
	know := 0
	for _, id := range m.configs[last] {
		if m.nodes[id-1].config == last {
			know++
		}
	}
	if know > len(m.configs[last])/2 {
		m.committed = last
	}
	if m.committed < last || m.changes == 0 || m.IntN(m.changes) > 0 {
		return
	}
	next := slices.Clone(m.configs[last])
	id := wire.NodeID(1 + m.IntN(len(m.nodes)))
	if i := slices.Index(next, id); i < 0 {
		next = append(next, id)
	} else if len(next) > 1 {
		next = slices.Delete(next, i, i+1)
	}
	m.configs = append(m.configs, next)
}

// vote has a voter cast what ballots it may.
func (m *model) vote(v *process) {
	if !slices.Contains(m.configs[v.config], v.id) || m.up[v.id] != v.incarnation {
		return
	}
	at := m.clock(v)
	if m.rash {
		at += Promise / 2
	}
	for _, p := range m.nodes {
		d := target{p.id, p.incarnation}
		if m.up[p.id] != p.incarnation || !v.voter.Condemn(at, p.id, p.incarnation) {
			continue
		}
		if m.ballots[d] == nil {
			m.ballots[d] = map[wire.NodeID]ballot{}
		}
		m.ballots[d][v.id] = ballot{v.incarnation, v.config}
	}
}

// fence commits every fence that a leader with all that is committed could.
func (m *model) fence() {
	for _, p := range m.nodes {
		d := target{p.id, p.incarnation}
		if m.up[p.id] != p.incarnation || m.ballots[d] == nil {
			continue
		}
		for version := m.committed; version < len(m.configs); version++ {
			count := 0
			for _, v := range m.configs[version] {
				b, ok := m.ballots[d][v]
				if ok && b.version == version && (m.oldBallots || m.up[v] == b.incarnation) {
					count++
				}
			}
			if count > len(m.configs[version])/2 {
				m.up[p.id] = 0
				m.fences++
				break
			}
		}
	}
}

// run says what went wrong: a lease that holds for who is fenced.
func (m *model) run(steps int) error {
	for i := range steps {
		m.now += step
		m.deliver()
		m.reconfigure()
		for _, p := range m.nodes {
			m.faults(p)
			m.renew(p)
			m.vote(p)
		}
		m.fence()
		for _, p := range m.nodes {
			version := uint64(p.config)
			if m.anyVersion {
				version = 0
			}
			until := p.holder.Until(version, m.configs[p.config])
			if m.clock(p) >= until {
				continue
			}
			m.valid++
			if m.up[p.id] != p.incarnation {
				return fmt.Errorf("step %d: node %d incarnation %d is fenced and has a lease for another %d ms",
					i, p.id, p.incarnation, (until-m.clock(p))/ms)
			}
		}
	}
	return nil
}

// apart is a spread of the clocks' rates with the fastest just less than 10 %
// faster than the slowest, which is what a Promise allows for.
const apart = 0.0952

// TestNobodyIsFencedWhileItsLeaseHolds, whatever is delayed, lost, restarted or
// reconfigured, while any two clocks drift apart by less than 10 %.
func TestNobodyIsFencedWhileItsLeaseHolds(t *testing.T) {
	fences, valid, steps := 0, 0, 0
	for seed := range uint64(120) {
		m := newModel(seed, apart)
		if err := m.run(4000); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		fences, valid, steps = fences+m.fences, valid+m.valid, steps+4000*len(m.nodes)
	}
	t.Logf("%d fences; leases held %d %% of the time", fences, 100*valid/steps)
	if fences < 100 || valid < steps/4 {
		t.Errorf("%d fences, %d of %d node steps with a lease: this run checks little", fences, valid, steps)
	}
}

// TestTheModelFindsWhatIsBroken, or the test above could not fail.
func TestTheModelFindsWhatIsBroken(t *testing.T) {
	for name, plant := range map[string]func(*model){
		"promises kept for half their time":               func(m *model) { m.rash = true },
		"ballots that outlive their voter's life":         func(m *model) { m.oldBallots = true },
		"grants of all configurations that add up":        func(m *model) { m.anyVersion = true },
		"voters that do not wait when others come and go": func(m *model) { m.onlyElected = true },
		"clocks that drift too far apart":                 nil,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				m := newModel(seed, apart)
				if plant == nil {
					m = newModel(seed, 0.4)
				} else {
					plant(m)
				}
				if err := m.run(4000); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}
