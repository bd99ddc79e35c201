package assign

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ashlar/replication/wire"
)

const second = int64(1_000_000_000)

var (
	fabricA = netip.MustParsePrefix("10.1.0.0/24")
	fabricB = netip.MustParsePrefix("10.2.0.0/24")
	both    = []netip.Prefix{fabricA, fabricB}
)

// rig is a cluster of nodes that are up and on both fabrics, each home to one
// address of each, named "a1", "b1" and so on. Moves that the planner proposes
// are agreed on at once; recalled addresses are released when a test says so.
type rig struct {
	*testing.T
	now        int64
	planner    *Planner
	nodes      []Node
	addresses  []Address
	rebuilding bool
	log        []string
}

func newRig(t *testing.T, nodes int) *rig {
	r := &rig{T: t, planner: NewPlanner()}
	for i := 1; i <= nodes; i++ {
		r.nodes = append(r.nodes, Node{ID: wire.NodeID(i), Incarnation: 1, Up: true, Fabrics: both})
	}
	for i := 1; i <= nodes; i++ {
		for k, f := range both {
			r.addresses = append(r.addresses, Address{Address: named(fmt.Sprintf("%c%d", 'a'+k, i)), Fabric: f,
				Group: uint16(100*i + k), Home: wire.NodeID(i)})
		}
	}
	r.pass(second)
	r.log = nil
	for _, a := range r.addresses {
		if a.Holder != a.Home {
			t.Fatalf("%s begins at node %d", name(a.Address), a.Holder)
		}
	}
	return r
}

func named(s string) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 1 + s[0] - 'a', 0, 100 + s[1] - '0'})
}

func name(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%c%d", 'a'+b[1]-1, b[3]-100)
}

func (r *rig) address(n string) *Address {
	for i := range r.addresses {
		if r.addresses[i].Address == named(n) {
			return &r.addresses[i]
		}
	}
	panic(n)
}

func (r *rig) apply(m Move) {
	r.Helper()
	a := r.address(name(m.Address))
	next, err := a.Apply(m, r.nodes)
	if err != nil {
		r.Fatalf("%+v of %+v: %v", m, *a, err)
	}
	if next.Gen <= a.Gen {
		r.Fatalf("%+v became %+v", *a, next)
	}
	*a = next
	r.log = append(r.log, strings.TrimSuffix(fmt.Sprintf("%s %s %d", m.Kind, name(m.Address), m.To), " 0"))
}

// pass lets time go by, in ticks of 100 ms.
func (r *rig) pass(time int64) {
	r.Helper()
	for end := r.now + time; r.now < end; r.now += second / 10 {
		for _, m := range r.planner.Tick(r.now, r.nodes, r.addresses, r.rebuilding) {
			r.apply(m)
		}
	}
}

func (r *rig) release(n string) {
	r.Helper()
	a := r.address(n)
	r.apply(Move{Release, a.Address, a.Gen, a.Holder, a.Incarnation})
}

// expect says what was agreed on since the last time.
func (r *rig) expect(want string) {
	r.Helper()
	if got := strings.Join(r.log, ", "); got != want {
		r.Fatalf("\n got %s\nwant %s", got, want)
	}
	r.log = nil
}

func TestInPeaceNothingMoves(t *testing.T) {
	r := newRig(t, 3)
	r.pass(200 * second)
	r.expect("")
}

func TestADeadNodesAddressesAreSpreadOverSurvivors(t *testing.T) {
	r := newRig(t, 4)
	r.nodes[1].Up = false
	r.pass(second)
	r.expect("assign a2 1, assign b2 3")
	r.nodes[2].Up = false
	r.pass(second)
	r.expect("assign b2 4, assign a3 1, assign b3 4")
}

func TestANodeThatIsOnlySilentKeepsItsAddresses(t *testing.T) {
	r := newRig(t, 3)
	a := r.address("a2")
	if _, err := a.Apply(Move{Assign, a.Address, a.Gen, 3, 1}, r.nodes); err == nil {
		t.Fatal("an address was given away under its holder")
	}
}

func TestANodeThatStartsAnewHasItsAddressesAtOnce(t *testing.T) {
	r := newRig(t, 3)
	r.nodes[1].Incarnation = 2
	r.pass(second)
	r.expect("assign a2 2, assign b2 2")
	if a := r.address("a2"); a.HeldBy(2, 1) || !a.HeldBy(2, 2) {
		t.Fatal("the former incarnation holds it")
	}
}

func TestAnAddressGoesOnlyWhereItsFabricIs(t *testing.T) {
	r := newRig(t, 3)
	r.nodes[0].Fabrics = []netip.Prefix{fabricB}
	r.pass(second)
	r.expect("recall a1")
	r.release("a1")
	r.pass(second)
	r.expect("release a1 1, assign a1 2")
	r.nodes[2].Fabrics = nil
	r.nodes[1].Up = false
	r.pass(second)
	r.expect("assign b2 1, recall b3") // nobody else is on fabric a
	if a := r.address("a3"); !a.HeldBy(3, 1) {
		t.Fatal("an address was recalled that nobody can take")
	}
}

func TestADrainedNodeGivesUpItsAddresses(t *testing.T) {
	r := newRig(t, 2)
	r.nodes[0].Drained = true
	r.pass(second)
	r.expect("recall a1, recall b1")
	r.pass(10 * second)
	r.expect("") // until the holder has given it up
	r.release("b1")
	r.pass(second)
	r.expect("release b1 1, assign b1 2")
	r.nodes[0].Up = false // it died before it could say so
	r.pass(second)
	r.expect("assign a1 2")
}

func TestAnAddressComesHomeWhenItsHomeHasBeenWellForLong(t *testing.T) {
	r := newRig(t, 3)
	r.nodes[1].Up = false
	r.pass(second)
	r.expect("assign a2 1, assign b2 3")
	r.nodes[1].Up, r.nodes[1].Incarnation = true, 2
	r.pass(50 * second)
	r.nodes[1].Incarnation = 3 // not well yet
	r.pass(59 * second)
	r.expect("")
	r.pass(2 * second)
	r.expect("recall a2")
	r.pass(20 * second)
	r.expect("") // one after the other
	r.release("a2")
	r.pass(second)
	r.expect("release a2 1, assign a2 2, recall b2")
	r.release("b2")
	r.pass(60 * second)
	r.expect("release b2 3, assign b2 2")
}

func TestReturnsArePartedInTime(t *testing.T) {
	r := newRig(t, 2)
	r.nodes[1].Up = false
	r.pass(second)
	r.nodes[1].Up, r.nodes[1].Incarnation = true, 2
	r.pass(61 * second)
	r.release("a2")
	r.pass(2 * second)
	r.expect("assign a2 1, assign b2 1, recall a2, release a2 1, assign a2 2")
	r.pass(5 * second)
	r.expect("recall b2")
}

func TestNothingComesHomeWhileCopiesAreMade(t *testing.T) {
	r := newRig(t, 2)
	r.nodes[1].Up = false
	r.pass(second)
	r.nodes[1].Up, r.nodes[1].Incarnation = true, 2
	r.rebuilding = true
	r.log = nil
	r.pass(200 * second)
	r.expect("")
	r.nodes[0].Up = false // but where nobody serves it, it goes home
	r.pass(second)
	r.expect("assign a1 2, assign b1 2, assign a2 2, assign b2 2")
}

func TestANewLeaderDecidesTheSameOfTheDead(t *testing.T) {
	r := newRig(t, 3)
	r.nodes[1].Up = false
	one := NewPlanner().Tick(0, r.nodes, r.addresses, false)
	two := r.planner.Tick(r.now, r.nodes, r.addresses, false)
	if fmt.Sprint(one) != fmt.Sprint(two) || len(one) != 2 {
		t.Fatal(one, two)
	}
	if again := r.planner.Tick(r.now+second/10, r.nodes, r.addresses, false); len(again) > 0 {
		t.Fatalf("proposed twice: %v", again)
	}
	if again := r.planner.Tick(r.now+second, r.nodes, r.addresses, false); len(again) != 2 {
		t.Fatalf("a lost proposal is not made again: %v", again)
	}
}

func TestAMoveOfAnEarlierStateIsRefused(t *testing.T) {
	r := newRig(t, 3)
	a := *r.address("a1")
	for _, m := range []Move{
		{Recall, a.Address, a.Gen - 1, 0, 0},
		{Release, a.Address, a.Gen, 1, 1}, // nobody asked for it
		{Assign, a.Address, a.Gen, 2, 1},
		{Assign, a.Address, a.Gen, 0, 0},
		{9, a.Address, a.Gen, 0, 0},
	} {
		if next, err := a.Apply(m, r.nodes); err == nil || next != a {
			t.Errorf("%+v: %+v, %v", m, next, err)
		}
	}
	r.nodes[0].Up = false
	for _, m := range []Move{
		{Recall, a.Address, a.Gen, 0, 0},
		{Assign, a.Address, a.Gen, 2, 0},
		{Assign, a.Address, a.Gen, 1, 1},
		{Assign, a.Address, a.Gen, 9, 1},
	} {
		if next, err := a.Apply(m, r.nodes); err == nil || next != a {
			t.Errorf("%+v: %+v, %v", m, next, err)
		}
	}
}

func TestWhatNoHostCouldReachIsNoAddress(t *testing.T) {
	for written, good := range map[string]bool{
		"10.1.0.101/24": true, "fd00:1::65/64": true, "10.1.0.1/30": true,
		"10.1.0.101/32": false, "fd00:1::65/128": false, "10.1.0.0/24": false, "10.1.0.255/24": false, "fd00:1::/64": false,
		"127.0.0.1/8": false, "169.254.0.1/16": false, "fe80::1/64": false, "224.0.0.1/8": false, "0.0.0.0/0": false,
		"::ffff:10.1.0.101/120": false,
	} {
		a, err := New(netip.MustParsePrefix(written), 7, 2)
		if (err == nil) != good || good && (!a.Fabric.Contains(a.Address) || a.Group != 7 || a.Home != 2 || !a.Over(nil)) {
			t.Errorf("%s: %+v, %v", written, a, err)
		}
	}
	if _, err := New(netip.Prefix{}, 1, 1); err == nil {
		t.Error("nothing is an address")
	}
}
