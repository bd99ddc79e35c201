//go:build lab

package hosts

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// Persistent reservations (SPC-4 5.13) as two Linux hosts see them, each with a
// path through the head's node and one through another.

const guest2IQN = "iqn.2026-01.lab.host:2"

const bothBytes = 32 << 20 // of the volume that both hosts have

// pair is two hosts with a volume in common. near are paths through the head's
// node, far those through another.
type pair struct {
	c           *clusters.Cluster
	v           api.Volume
	one, two    host
	near1, far1 nexus
	near2, far2 nexus
	near, far   *clusters.Node
	nearP, farP string
}

func startPair(t *testing.T) *pair {
	t.Helper()
	c := startCluster(t)
	p := &pair{c: c, v: c.Publish("v", fmt.Sprint(bothBytes), 2, guestIQN, guest2IQN), one: startHost(t, 1), two: startHost(t, 2)}
	p.near, p.far = c.Head("v"), c.NotHead("v")
	p.nearP, p.farP = p.near.Addresses[0], p.far.Addresses[0]
	for _, h := range []host{p.one, p.two} {
		h.script("login", "PORTALS="+p.nearP, "TARGET="+p.v.IQN, "AT="+p.nearP+" "+p.farP, "PATHS=2")
	}
	p.near1, p.far1 = p.one.through(p.near.Number, p.v.IQN, 0), p.one.through(p.far.Number, p.v.IQN, 0)
	p.near2, p.far2 = p.two.through(p.near.Number, p.v.IQN, 0), p.two.through(p.far.Number, p.v.IQN, 0)
	return p
}

// in is the pair for a subtest.
func (p *pair) in(t *testing.T) *pair {
	q := *p
	q.one.t, q.two.t = t, t
	q.near1, q.far1, q.near2, q.far2 = p.near1.in(t), p.far1.in(t), p.near2.in(t), p.far2.in(t)
	return &q
}

func TestHostReservations(t *testing.T) {
	p := startPair(t)
	for _, rule := range []struct {
		name string
		test func(p *pair)
	}{
		{"each type binds the paths through all nodes", (*pair).types},
		{"full status names each nexus", (*pair).fullStatus},
		{"preempt and clear take registrations away", (*pair).preempt},
		{"register and move hands over", (*pair).move},
		{"mpathpersist registers all paths", (*pair).multipath},
		{"RESERVE and RELEASE of SPC-2", (*pair).reserve6},
		{"fence_scsi fences a host, and so it stays when all nodes are killed", (*pair).fence},
	} {
		if !t.Run(rule.name, func(t *testing.T) { rule.test(p.in(t)) }) {
			return // what it left would disturb the others
		}
	}
}

// types reserves by one path, and asks what it means for the others.
func (p *pair) types() {
	t := p.one.t
	p.near1.expect(sgGood, "sg_persist -n -o -G -S a1")
	p.far2.expect(sgGood, "sg_persist -n -o -G -S b2")
	for _, kind := range []struct {
		number          int
		name            string
		key             string // in READ RESERVATION
		registered, not string // may do
	}{
		{1, "Write Exclusive", "0xa1", "reads", "reads"},
		{3, "Exclusive Access", "0xa1", "none", "none"},
		{5, "Write Exclusive, registrants only", "0xa1", "all", "reads"},
		{6, "Exclusive Access, registrants only", "0xa1", "all", "none"},
		{7, "Write Exclusive, all registrants", "0x0", "all", "reads"},
		{8, "Exclusive Access, all registrants", "0x0", "all", "none"},
	} {
		p.near1.expect(sgGood, fmt.Sprintf("sg_persist -n -o -R -K a1 -T %d", kind.number))
		p.expectReservation(p.far1, kind.key, kind.name)
		expectAccess(t, kind.name, map[nexus]string{p.near1: "all", p.far2: kind.registered, p.far1: kind.not, p.near2: kind.not})
		p.near1.expect(sgGood, fmt.Sprintf("sg_persist -n -o -L -K a1 -T %d", kind.number))
	}
	expectAccess(t, "released", map[nexus]string{p.far1: "all", p.near2: "all"})
	p.far1.expect(sgConflict, "sg_persist -n -o -C -K a1") // not registered
	p.far2.expect(sgGood, "sg_persist -n -o -C -K b2")
	p.expectKeys(p.near1)
}

// fullStatus checks READ FULL STATUS (SPC-4 6.16.5) through a path that is not
// registered.
func (p *pair) fullStatus() {
	p.near1.expect(sgGood, "sg_persist -n -o -G -S a1")
	p.far1.expect(sgGood, "sg_persist -n -o -I -S a2")
	p.far2.expect(sgGood, "sg_persist -n -o -G -S b2")
	p.far2.expect(sgGood, "sg_persist -n -o -R -K b2 -T 3")
	all := p.status(p.near2)
	if len(all) != 3 {
		p.one.t.Errorf("full status: %+v; want three registrations", all)
	}
	for key, want := range map[string]registration{
		"0xa1": {port: p.near.Number, initiator: guestIQN},
		"0xa2": {port: p.far.Number, initiator: guestIQN},
		"0xb2": {port: p.far.Number, initiator: guest2IQN, holder: true},
	} {
		got := all[key]
		isid := got.isid
		if got.isid = ""; got != want || isid == "" {
			p.one.t.Errorf("full status of key %s: %+v with ISID %q; want %+v", key, got, isid, want)
		}
	}
	p.far2.expect(sgGood, "sg_persist -n -o -C -K b2")
}

// preempt takes a reservation, with PREEMPT and with PREEMPT AND ABORT, through
// other nodes than it was made through.
func (p *pair) preempt() {
	t := p.one.t
	p.near1.expect(sgGood, "sg_persist -n -o -G -S a1")
	p.far2.expect(sgGood, "sg_persist -n -o -G -S b2")
	p.near1.expect(sgGood, "sg_persist -n -o -R -K a1 -T 1")
	p.far2.expect(sgConflict, "sg_persist -n -o -R -K b2 -T 1")
	p.far2.expect(sgGood, "sg_persist -n -o -P -K b2 -S a1 -T 3")
	p.expectReservation(p.near1, "0xb2", "Exclusive Access")
	p.expectKeys(p.near1, "0xb2")
	expectAccess(t, "preempted", map[nexus]string{p.near1: "none", p.far2: "all"})

	p.near1.expect(sgGood, "sg_persist -n -o -G -S a1")
	p.near1.expect(sgGood, "sg_persist -n -o -A -K a1 -S b2 -T 5")
	p.expectReservation(p.far2, "0xa1", "Write Exclusive, registrants only")
	p.expectKeys(p.far2, "0xa1")
	expectAccess(t, "preempted and aborted", map[nexus]string{p.near1: "all", p.far2: "reads"})

	p.far2.expect(sgGood, "sg_persist -n -o -G -S b2")
	p.far2.expect(sgGood, "sg_persist -n -o -C -K b2")
	p.expectKeys(p.near1)
	expectAccess(t, "cleared", map[nexus]string{p.near1: "all", p.far2: "all"})
}

// move hands a reservation from one host to the other (SPC-4 5.13.8).
func (p *pair) move() {
	p.near1.expect(sgGood, "sg_persist -n -o -G -S a1")
	p.far2.expect(sgGood, "sg_persist -n -o -G -S b2")
	p.near1.expect(sgGood, "sg_persist -n -o -R -K a1 -T 1")
	to := p.status(p.near1)["0xb2"]
	p.near1.expect(sgGood, fmt.Sprintf("sg_persist -n -o -M -K a1 -S b3 -U -Q %d -X %s,i,%s", to.port, to.initiator, to.isid))
	p.expectReservation(p.far1, "0xb3", "Write Exclusive")
	p.expectKeys(p.far1, "0xb3")
	to.holder = true
	if got := p.status(p.far1)["0xb3"]; got != to {
		p.one.t.Errorf("moved to %+v, want %+v", got, to)
	}
	expectAccess(p.one.t, "moved", map[nexus]string{p.near1: "reads", p.far2: "all"})
	p.far2.expect(sgGood, "sg_persist -n -o -C -K b3")
}

// multipath has multipath-tools register each path of a map, and reserve for
// all of them.
func (p *pair) multipath() {
	const (
		disk     = "/dev/mapper/mpatha"
		conflict = 11 // MPATH_PR_RESERV_CONFLICT (mpath_persist.h)
	)
	must := func(h host, code int, args string) {
		out, got := h.try("mpathpersist " + args + " -d " + disk)
		if got != code {
			h.t.Errorf("guest %d: mpathpersist %s: exit code %d, want %d\n%s", h.n, args, got, code, out)
		}
	}
	must(p.one, sgGood, "-o -G -S a1")
	p.expectKeys(p.far2, "0xa1", "0xa1")
	must(p.one, sgGood, "-o -R -K a1 -T 5")
	p.expectReservation(p.near2, "0xa1", "Write Exclusive, registrants only")
	expectAccess(p.one.t, "mpathpersist", map[nexus]string{p.near1: "all", p.far1: "all", p.near2: "reads", p.far2: "reads"})
	must(p.two, conflict, "-o -R -K b2 -T 5")
	must(p.two, sgGood, "-o -G -S b2")
	p.expectKeys(p.far1, "0xa1", "0xa1", "0xb2", "0xb2")
	must(p.two, sgGood, "-o -P -K b2 -S a1 -T 5")
	p.expectKeys(p.far1, "0xb2", "0xb2")
	expectAccess(p.one.t, "preempted", map[nexus]string{p.near1: "reads", p.far1: "reads", p.near2: "all", p.far2: "all"})
	must(p.two, sgGood, "-o -L -K b2 -T 5")
	must(p.two, sgGood, "-o -C -K b2")
	p.expectKeys(p.near1)
}

// reserve6 takes the whole unit with RESERVE(6) (SPC-2 7.21).
func (p *pair) reserve6() {
	t := p.one.t
	reserve := func(n nexus, code int) { n.reserve6(0x16, code) }
	release := func(n nexus, code int) { n.reserve6(0x17, code) }
	reserve(p.far1, sgGood)
	reserve(p.far1, sgGood)
	reserve(p.near1, sgConflict)
	reserve(p.near2, sgConflict)
	expectAccess(t, "RESERVE", map[nexus]string{p.far1: "all", p.near1: "none", p.near2: "none", p.far2: "none"})
	p.near2.expect(sgConflict, "sg_persist -n -o -G -S b2")
	release(p.near2, sgGood) // of what is another's: nothing happens
	expectAccess(t, "RELEASE of another", map[nexus]string{p.near2: "none"})
	release(p.far1, sgGood)
	expectAccess(t, "RELEASE", map[nexus]string{p.near1: "all", p.far2: "all"})
}

func (n nexus) reserve6(opcode byte, code int) {
	n.t.Helper()
	out, got := n.try(fmt.Sprintf(attend+"sg_raw %[1]s %02[2]x 00 00 00 00 00", n.disk, opcode))
	if got != code {
		n.t.Fatalf("guest %d through node %d: opcode %02xh: exit code %d, want %d\n%s", n.n, n.node, opcode, got, code, out)
	}
}

// fence lets clusters' own agent fence one host from another while both write,
// and then kills all nodes: the registrations were made with APTPL.
func (p *pair) fence() {
	const agent = "fence_scsi -d /dev/mapper/mpatha"
	t := p.one.t
	p.one.must(agent + " --aptpl -k a1 -o on")
	p.two.must(agent + " --aptpl -k b2 -o on")
	p.expectKeys(p.near1, "0xa1", "0xa1", "0xb2", "0xb2")
	p.expectReservation(p.far2, "0xa1", "Write Exclusive, registrants only")
	for i, h := range []host{p.one, p.two} {
		h.script("fio-start", fmt.Sprintf("BYTES=%d", quickBytes), fmt.Sprintf("OFFSET=%d", i*quickBytes))
	}
	p.one.awaitIO(200, 30*time.Second)
	p.two.awaitIO(200, 30*time.Second)
	p.one.must(agent + " -k b2 -o off")
	p.two.await(30*time.Second, "reservation conflict of what writes", "cat /tmp/fio/failed && grep -q 'Invalid exchange' /tmp/fio/failed")
	p.one.awaitIO(200, 30*time.Second)
	fenced := map[nexus]string{p.near1: "all", p.far1: "all", p.near2: "reads", p.far2: "reads"}
	expectAccess(t, "fenced", fenced)

	p.c.KillAll()
	for _, n := range p.c.Nodes {
		n.Start()
	}
	p.c.AwaitInSync("v", time.Minute)
	t.Logf("all nodes killed and started: 200 more I/Os %.1f s later", p.one.awaitIO(200, time.Minute).Seconds())
	for _, h := range []host{p.one, p.two} {
		h.awaitPaths(2, 0)
	}
	expectAccess(t, "after the death of all nodes", fenced)
	p.expectKeys(p.far2, "0xa1", "0xa1")
	p.expectReservation(p.near2, "0xa1", "Write Exclusive, registrants only")
	if r := p.one.stopFio(); r.errors != 0 || r.passes == 0 || r.reads != r.writes {
		t.Errorf("not every block of the host that fences was written and read back once a pass: %+v", r)
	}
	p.two.must(agent + " -k b2 -o on") // let in again
	expectAccess(t, "let in again", map[nexus]string{p.near2: "all", p.far2: "all"})
	p.c.Verify("v")
}

var hexNumber = regexp.MustCompile(`(?m)^\s+(0x[0-9a-f]+)$`)

// expectKeys compares what READ KEYS lists through a nexus.
func (p *pair) expectKeys(n nexus, want ...string) {
	n.t.Helper()
	var got []string
	for _, m := range hexNumber.FindAllStringSubmatch(n.expect(sgGood, "sg_persist -n -i -k"), -1) {
		got = append(got, m[1])
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		n.t.Errorf("guest %d through node %d: registered keys %v, want %v", n.n, n.node, got, want)
	}
}

var reservation = regexp.MustCompile(`Key=(0x[0-9a-f]+)\s+scope: LU_SCOPE,\s+type: (.+)\n`)

// expectReservation compares READ RESERVATION through a nexus.
func (p *pair) expectReservation(n nexus, key, kind string) {
	n.t.Helper()
	out := n.expect(sgGood, "sg_persist -n -i -r")
	if m := reservation.FindStringSubmatch(out); m == nil || m[1] != key || m[2] != kind {
		n.t.Errorf("guest %d through node %d: want key %s, %q\n%s", n.n, n.node, key, kind, out)
	}
}

// registration is a descriptor of READ FULL STATUS.
type registration struct {
	port            int // relative target port
	initiator, isid string
	holder          bool
}

var fullStatus = regexp.MustCompile(`Key=(0x[0-9a-f]+)\s+All target ports bit clear\s+Relative port address: 0x([0-9a-f]+)\s+` +
	`(<< Reservation holder >>|not reservation holder)\s+(?:scope: .*\s+)?Transport Id of initiator:\s+` +
	`iSCSI world wide unique port id: (\S+),i,(0x[0-9a-f]{12})\n`)

// status is what READ FULL STATUS tells of each key.
func (p *pair) status(n nexus) map[string]registration {
	n.t.Helper()
	all := map[string]registration{}
	out := n.expect(sgGood, "sg_persist -n -i -s")
	for _, m := range fullStatus.FindAllStringSubmatch(out, -1) {
		r := registration{initiator: m[4], isid: m[5], holder: strings.HasPrefix(m[3], "<<")}
		if _, err := fmt.Sscanf(m[2], "%x", &r.port); err != nil {
			n.t.Fatal(err)
		}
		all[m[1]] = r
	}
	if len(all) != strings.Count(out, "Key=") {
		n.t.Fatalf("not understood:\n%s", out)
	}
	return all
}
