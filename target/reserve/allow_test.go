package reserve

import "testing"

// The nexuses of the matrix, each as the reservation finds it.
var (
	holder     = Nexus{"holder", 1}
	registrant = Nexus{"registrant", 1}
	stranger   = Nexus{"stranger", 1}
)

// TestTheConflictMatrix is SPC-4 table 66: what each type leaves to whom.
func TestTheConflictMatrix(t *testing.T) {
	for _, c := range []struct {
		kind              Type
		registrant, other string // of "pr", presence and reads, and "w", writes
	}{
		{None, "prw", "prw"},
		{WriteExclusive, "pr", "pr"},
		{ExclusiveAccess, "p", "p"},
		{WriteExclusiveRegistrantsOnly, "prw", "pr"},
		{ExclusiveAccessRegistrantsOnly, "prw", "p"},
		{WriteExclusiveAllRegistrants, "prw", "pr"},
		{ExclusiveAccessAllRegistrants, "prw", "p"},
	} {
		s := registered(t, c.kind)
		for _, n := range []struct {
			name  string
			nexus Nexus
			may   string
		}{
			{"holder", holder, "prw"},
			{"registrant", registrant, c.registrant},
			{"stranger", stranger, c.other},
			{"holder's host by another port", Nexus{"holder", 2}, c.other},
		} {
			if got := may(&s, n.nexus); got != n.may {
				t.Errorf("type %d, %s: may %q, want %q", c.kind, n.name, got, n.may)
			}
		}
	}
}

func TestAReservedUnitIsItsHoldersAlone(t *testing.T) {
	s, _ := Apply(State{}, Request{Kind: ReserveUnit, Nexus: holder, Session: 1})
	if may(&s, holder) != "prw" || may(&s, stranger) != "" || !s.Allows(stranger, Always) {
		t.Errorf("holder %q, stranger %q", may(&s, holder), may(&s, stranger))
	}
	var none *State
	if may(none, stranger) != "prw" {
		t.Error("no reservations forbid something")
	}
}

func may(s *State, n Nexus) (all string) {
	if s.Allows(n, Presence) {
		all += "p"
	}
	if s.Allows(n, Reads) {
		all += "r"
	}
	if s.Allows(n, Writes) {
		all += "w"
	}
	return all
}

// registered is a state with two registrants, of keys 1 and 2, and holder's
// reservation.
func registered(t *testing.T, kind Type) State {
	t.Helper()
	s := State{}
	steps := []Request{
		{Kind: Register, Nexus: holder, Service: 1},
		{Kind: Register, Nexus: registrant, Service: 2},
	}
	if kind != None {
		steps = append(steps, Request{Kind: Reserve, Nexus: holder, Key: 1, Type: kind})
	}
	for _, r := range steps {
		var result Result
		if s, result = Apply(s, r); result.Status != Good {
			t.Fatalf("%v: %v", r.Kind, result.Status)
		}
	}
	return s
}

// NVMe registers a host, through every port and every controller of it.
func TestARegistrantThroughEveryPortIsEachOfItsHostsNexuses(t *testing.T) {
	host := Nexus{Host: "nqn.a,h,0x01"}
	s, _ := Apply(State{}, Request{Kind: Register, Nexus: host, Service: 7})
	s, _ = Apply(s, Request{Kind: Reserve, Nexus: host, Key: 7, Type: ExclusiveAccess})
	for n, allowed := range map[Nexus]bool{
		host:                          true,
		{"nqn.a,h,0x01,i,0x0001", 1}:  true,
		{"nqn.a,h,0x01,i,0x0002", 9}:  true,
		{"nqn.a,h,0x02,i,0x0001", 1}:  false,
		{"nqn.a,i,0x0001", 1}:         false,
		{"iqn.b,i,0x000000000001", 1}: false,
		{"nqn.a,h,0x01", 1}:           true,
	} {
		if s.Allows(n, Writes) != allowed || host.Covers(n) != allowed || s.Holds(n) != allowed {
			t.Errorf("%v: allowed %t", n, !allowed)
		}
	}
	one := Nexus{"nqn.a,h,0x01,i,0x0001", 1}
	if one.Covers(host) || one.Covers(Nexus{one.Host, 2}) || !one.Covers(one) {
		t.Error("one nexus stands for others")
	}
}
