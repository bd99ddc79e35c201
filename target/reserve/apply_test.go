package reserve

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// show is a state in a line: "g2 holder=1 registrant=2 t5 by holder".
func show(s State) string {
	text := fmt.Sprintf("g%d", s.Generation)
	for _, r := range s.Registrants {
		text += fmt.Sprintf(" %s=%d", port(r.Nexus), r.Key)
	}
	if s.Type != None {
		text += fmt.Sprintf(" t%d", s.Type)
		if !s.Type.AllRegistrants() {
			text += " by " + port(s.Holder)
		}
	}
	if s.Unit != nil {
		text += " unit " + port(s.Unit.Nexus)
	}
	if s.APTPL {
		text += " aptpl"
	}
	return text
}

func port(n Nexus) string {
	if n.Port == 1 {
		return n.Host
	}
	return fmt.Sprintf("%s:%d", n.Host, n.Port)
}

// told are the notices of the latest change: "registrant released".
func told(s State, since uint64) string {
	names := []string{ReservationsPreempted: "cleared", ReservationsReleased: "released", RegistrationsPreempted: "preempted"}
	var all []string
	notices, _ := s.Since(since)
	for _, n := range notices {
		all = append(all, port(n.Nexus)+" "+names[n.Attention])
	}
	return strings.Join(all, ", ")
}

// TestEachRequestDoesWhatTheStandardSays starts from two registrants, holder
// with key 1 and registrant with key 2, and a reservation of holder.
func TestEachRequestDoesWhatTheStandardSays(t *testing.T) {
	const before = "g2 holder=1 registrant=2"
	moved := Nexus{"moved", 2}
	for _, c := range []struct {
		rule   string
		kind   Type
		r      Request
		status Status
		after  string // "" for as before
		told   string
	}{
		{"a stranger registers", 5, Request{Kind: Register, Nexus: stranger, Service: 3}, Good, "g3 holder=1 registrant=2 stranger=3 t5 by holder", ""},
		{"a stranger has no key to give", 5, Request{Kind: Register, Nexus: stranger, Key: 9, Service: 3}, Conflict, "", ""},
		{"key 0 of a stranger does nothing", 5, Request{Kind: Register, Nexus: stranger}, Good, "", ""},
		{"the key changes", 5, Request{Kind: Register, Nexus: registrant, Key: 2, Service: 7, APTPL: true}, Good, "g3 holder=1 registrant=7 t5 by holder aptpl", ""},
		{"a wrong key changes nothing", 5, Request{Kind: Register, Nexus: registrant, Key: 3, Service: 7}, Conflict, "", ""},
		{"the old key is ignored", 5, Request{Kind: RegisterAndIgnore, Nexus: holder, Key: 9, Service: 7}, Good, "g3 holder=7 registrant=2 t5 by holder", ""},
		{"all ports of the host are registered", None, Request{Kind: RegisterAndIgnore, Nexus: holder, Service: 7, Ports: []uint16{1, 2, 3}}, Good,
			"g3 holder=7 holder:2=7 holder:3=7 registrant=2", ""},
		{"other hosts are registered", None, Request{Kind: Register, Nexus: stranger, Service: 3, Ports: []uint16{1, 2}, Others: []string{"friend", "registrant"}}, Good,
			"g3 friend=3 friend:2=3 holder=1 registrant=2 registrant:2=3 stranger=3 stranger:2=3", ""},
		{"who is registered names no others", None, Request{Kind: Register, Nexus: holder, Key: 1, Service: 3, Others: []string{"friend"}}, InvalidPlace, "", ""},

		{"the holder of write exclusive unregisters", 1, Request{Kind: Register, Nexus: holder, Key: 1}, Good, "g3 registrant=2", ""},
		{"the holder of registrants only unregisters", 5, Request{Kind: Register, Nexus: holder, Key: 1}, Good, "g3 registrant=2", "registrant released"},
		{"one of all registrants unregisters", 7, Request{Kind: RegisterAndIgnore, Nexus: holder}, Good, "g3 registrant=2 t7", ""},
		{"a registrant unregisters", 6, Request{Kind: Register, Nexus: registrant, Key: 2}, Good, "g3 holder=1 t6 by holder", ""},

		{"it is reserved", None, Request{Kind: Reserve, Nexus: registrant, Key: 2, Type: 3}, Good, "g2 holder=1 registrant=2 t3 by registrant", ""},
		{"type 2 is none", None, Request{Kind: Reserve, Nexus: registrant, Key: 2, Type: 2}, InvalidField, "", ""},
		{"type 9 is none", None, Request{Kind: Reserve, Nexus: registrant, Key: 2, Type: 9}, InvalidField, "", ""},
		{"the holder reserves again", 5, Request{Kind: Reserve, Nexus: holder, Key: 1, Type: 5}, Good, "", ""},
		{"the holder changes no type", 5, Request{Kind: Reserve, Nexus: holder, Key: 1, Type: 1}, Conflict, "", ""},
		{"another does not reserve", 5, Request{Kind: Reserve, Nexus: registrant, Key: 2, Type: 5}, Conflict, "", ""},
		{"all registrants hold it", 8, Request{Kind: Reserve, Nexus: registrant, Key: 2, Type: 8}, Good, "", ""},
		{"a stranger does not reserve", None, Request{Kind: Reserve, Nexus: stranger, Type: 5}, Conflict, "", ""},
		{"a wrong key does not reserve", None, Request{Kind: Reserve, Nexus: holder, Key: 2, Type: 5}, Conflict, "", ""},

		{"the holder of write exclusive releases", 1, Request{Kind: Release, Nexus: holder, Key: 1, Type: 1}, Good, before, ""},
		{"the holder of registrants only releases", 6, Request{Kind: Release, Nexus: holder, Key: 1, Type: 6}, Good, before, "registrant released"},
		{"one of all registrants releases", 7, Request{Kind: Release, Nexus: registrant, Key: 2, Type: 7}, Good, before, "holder released"},
		{"another type is not released", 6, Request{Kind: Release, Nexus: holder, Key: 1, Type: 5}, InvalidRelease, "", ""},
		{"who does not hold it releases nothing", 6, Request{Kind: Release, Nexus: registrant, Key: 2, Type: 5}, Good, "", ""},
		{"a stranger does not release", 6, Request{Kind: Release, Nexus: stranger, Type: 6}, Conflict, "", ""},

		{"a registrant clears", 5, Request{Kind: Clear, Nexus: registrant, Key: 2}, Good, "g3", "holder cleared"},
		{"a stranger does not clear", 5, Request{Kind: Clear, Nexus: stranger}, Conflict, "", ""},

		{"the holder is preempted", 5, Request{Kind: Preempt, Nexus: registrant, Key: 2, Service: 1, Type: 5}, Good, "g3 registrant=2 t5 by registrant", "holder preempted"},
		{"the holder is preempted with another type", 3, Request{Kind: Preempt, Nexus: registrant, Key: 2, Service: 1, Type: 8}, Good, "g3 registrant=2 t8", "holder preempted"},
		{"the holder preempts itself", 1, Request{Kind: Preempt, Nexus: holder, Key: 1, Service: 1, Type: 5}, Good, "g3 holder=1 registrant=2 t5 by holder", "registrant released"},
		{"a registrant is preempted", 5, Request{Kind: Preempt, Nexus: holder, Key: 1, Service: 2, Type: 1}, Good, "g3 holder=1 t5 by holder", "registrant preempted"},
		{"a registrant is preempted without a reservation", None, Request{Kind: Preempt, Nexus: holder, Key: 1, Service: 2, Type: 1}, Good, "g3 holder=1", "registrant preempted"},
		{"a registrant preempts its own key", 5, Request{Kind: Preempt, Nexus: registrant, Key: 2, Service: 2, Type: 5}, Good, "g3 holder=1 t5 by holder", ""},
		{"no one has the key", 5, Request{Kind: Preempt, Nexus: holder, Key: 1, Service: 3, Type: 5}, Conflict, "", ""},
		{"key 0 preempts no one", 5, Request{Kind: Preempt, Nexus: holder, Key: 1, Type: 5}, InvalidKey, "", ""},
		{"key 0 preempts all registrants", 7, Request{Kind: Preempt, Nexus: registrant, Key: 2, Type: 1}, Good, "g3 registrant=2 t1 by registrant", "holder preempted"},
		{"a key among all registrants", 7, Request{Kind: Preempt, Nexus: registrant, Key: 2, Service: 1, Type: 1}, Good, "g3 registrant=2 t7", "holder preempted"},
		{"a stranger does not preempt", 5, Request{Kind: Preempt, Nexus: stranger, Service: 1, Type: 5}, Conflict, "", ""},
		{"it is not taken over with type 2", 5, Request{Kind: Preempt, Nexus: registrant, Key: 2, Service: 1, Type: 2}, InvalidField, "", ""},

		{"the reservation moves", 5, Request{Kind: RegisterAndMove, Nexus: holder, Key: 1, Service: 4, To: moved}, Good, "g3 holder=1 moved:2=4 registrant=2 t5 by moved:2", ""},
		{"the reservation moves to a registrant", 1, Request{Kind: RegisterAndMove, Nexus: holder, Key: 1, Service: 4, To: registrant, Unregister: true}, Good,
			"g3 registrant=4 t1 by registrant", ""},
		{"only the holder moves it", 5, Request{Kind: RegisterAndMove, Nexus: registrant, Key: 2, Service: 4, To: moved}, Conflict, "", ""},
		{"what all hold does not move", 7, Request{Kind: RegisterAndMove, Nexus: holder, Key: 1, Service: 4, To: moved}, Conflict, "", ""},
		{"there is nothing to move", None, Request{Kind: RegisterAndMove, Nexus: holder, Key: 1, Service: 4, To: moved}, InvalidField, "", ""},
		{"it does not move to where it is", 5, Request{Kind: RegisterAndMove, Nexus: holder, Key: 1, Service: 4, To: holder}, InvalidPlace, "", ""},
		{"it does not move with key 0", 5, Request{Kind: RegisterAndMove, Nexus: holder, Key: 1, To: moved}, InvalidKey, "", ""},

		{"RESERVE(6) of the holder does nothing", 1, Request{Kind: ReserveUnit, Nexus: holder, Session: 1}, Good, "", ""},
		{"RESERVE(6) of a registrant does nothing", 5, Request{Kind: ReserveUnit, Nexus: registrant, Session: 1}, Good, "", ""},
		{"RESERVE(6) conflicts with write exclusive", 1, Request{Kind: ReserveUnit, Nexus: registrant, Session: 1}, Conflict, "", ""},
		{"RESERVE(6) conflicts with registrations", None, Request{Kind: ReserveUnit, Nexus: registrant, Session: 1}, Conflict, "", ""},
		{"RELEASE(6) conflicts with registrations", None, Request{Kind: ReleaseUnit, Nexus: stranger}, Conflict, "", ""},
		{"RELEASE(6) of the holder does nothing", 3, Request{Kind: ReleaseUnit, Nexus: holder}, Good, "", ""},
		{"a lost nexus keeps its registration", 5, Request{Kind: NexusLost, Nexus: holder, Session: 9}, Good, "", ""},
		{"a unit reset keeps all", 5, Request{Kind: UnitReset}, Good, "", ""},
		{"a loss of power takes all", 5, Request{Kind: PowerLost}, Good, "g0", ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s := registered(t, c.kind)
			want := c.after
			if want == "" {
				want = show(s)
			}
			after, result := Apply(s, c.r)
			if result.Status != c.status || show(after) != want || told(after, s.Change) != c.told {
				t.Errorf("status %d, %q told %q; want %d, %q told %q", result.Status, show(after), told(after, s.Change), c.status, want, c.told)
			}
		})
	}
}

func TestRESERVE6IsReleasedByItsHolderOrItsEnd(t *testing.T) {
	held, _ := Apply(State{}, Request{Kind: ReserveUnit, Nexus: holder, Session: 5})
	for _, c := range []struct {
		rule   string
		r      Request
		status Status
		kept   bool
	}{
		{"its holder releases it", Request{Kind: ReleaseUnit, Nexus: holder}, Good, false},
		{"another releases nothing", Request{Kind: ReleaseUnit, Nexus: stranger}, Good, true},
		{"another does not reserve", Request{Kind: ReserveUnit, Nexus: stranger, Session: 1}, Conflict, true},
		{"its session ends", Request{Kind: NexusLost, Nexus: holder, Session: 5}, Good, false},
		{"an earlier session ends late", Request{Kind: NexusLost, Nexus: holder, Session: 4}, Good, true},
		{"another nexus ends", Request{Kind: NexusLost, Nexus: stranger, Session: 9}, Good, true},
		{"its port is lost", Request{Kind: PortLost, Nexus: Nexus{Port: 1}}, Good, false},
		{"another port is lost", Request{Kind: PortLost, Nexus: Nexus{Port: 2}}, Good, true},
		{"the unit is reset", Request{Kind: UnitReset}, Good, false},
		{"no one registers", Request{Kind: Register, Nexus: holder, Service: 1}, Conflict, true},
		{"no one looks", Request{Kind: Look, Nexus: holder}, Conflict, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			s, result := Apply(held, c.r)
			if result.Status != c.status || (s.Unit != nil) != c.kept {
				t.Errorf("status %d, kept %v", result.Status, s.Unit != nil)
			}
		})
	}
}

func TestAPTPLKeepsAllButRESERVE6(t *testing.T) {
	s := registered(t, 6)
	s, _ = Apply(s, Request{Kind: RegisterAndIgnore, Nexus: holder, Service: 1, APTPL: true})
	before := show(s)
	if s, _ = Apply(s, Request{Kind: PowerLost}); show(s) != before {
		t.Errorf("%q became %q", before, show(s))
	}
}

func TestPreemptAndAbortNamesWhomItAborts(t *testing.T) {
	s := registered(t, 7)
	_, result := Apply(s, Request{Kind: PreemptAndAbort, Nexus: holder, Key: 1, Type: 5})
	if !slices.Equal(result.Abort, []Nexus{registrant}) {
		t.Errorf("aborted %v", result.Abort)
	}
}

func TestRegistrantsAreBounded(t *testing.T) {
	var s State
	others := make([]string, RegistrantsMax)
	for i := range others {
		others[i] = fmt.Sprint(i)
	}
	after, result := Apply(s, Request{Kind: Register, Nexus: holder, Service: 1, Others: others})
	if result.Status != NoResources || after.Change != 0 {
		t.Errorf("status %d, %d registrants", result.Status, len(after.Registrants))
	}
	if after, result = Apply(s, Request{Kind: Register, Nexus: holder, Service: 1, Others: others[1:]}); result.Status != Good || len(after.Registrants) != RegistrantsMax {
		t.Errorf("status %d, %d registrants", result.Status, len(after.Registrants))
	}
}

// TestWhateverIsAsked holds what is so after any requests in any order. Apply
// itself panics where a rule of the package is broken.
func TestWhateverIsAsked(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var s State
		seen := map[uint64]int{} // notices that a listener of every state has got, by change
		for range 200 {
			r := anyRequest(rnd)
			frozen, _ := json.Marshal(s)
			after, result := Apply(s, r)
			if again, _ := json.Marshal(s); string(again) != string(frozen) {
				t.Fatalf("seed %d: %v changed its argument", seed, r.Kind)
			}
			holds(t, s, after, r, result)
			notices, known := after.Since(s.Change)
			if !known {
				t.Fatalf("seed %d: the latest notices are gone", seed)
			}
			seen[after.Change] += len(notices)
			s = after
		}
		for _, n := range s.Notices {
			seen[n.Change]--
		}
		for change, n := range seen {
			if n != 0 && change > s.Forgotten {
				t.Errorf("seed %d: %d notices of change %d are missing", seed, n, change)
			}
		}
	}
}

func anyRequest(rnd *rand.Rand) Request {
	nexus := func() Nexus { return Nexus{string(rune('a' + rnd.IntN(3))), uint16(1 + rnd.IntN(2))} }
	r := Request{Kind: Kind(rnd.IntN(int(PowerLost))), Nexus: nexus(), Session: rnd.Uint64N(3), Key: rnd.Uint64N(3), Service: rnd.Uint64N(3),
		Type: Type(rnd.IntN(10)), APTPL: rnd.IntN(2) == 0, To: nexus(), Unregister: rnd.IntN(2) == 0}
	if rnd.IntN(4) == 0 {
		r.Ports = []uint16{1, 2}
	}
	if rnd.IntN(8) == 0 {
		r.Others = []string{"b", "c"}
	}
	return r
}

// holds checks one step.
func holds(t *testing.T, before, after State, r Request, result Result) {
	t.Helper()
	if result.Status != Good && !reflect.DeepEqual(before, after) {
		t.Fatalf("%v ended with %d and changed something", r.Kind, result.Status)
	}
	grew := after.Generation - before.Generation
	registers := r.Kind != Reserve && r.Kind != Release && r.Kind < ReserveUnit && r.Kind != Look
	if changed := after.Change != before.Change; grew > 1 || grew == 1 && !registers || changed && registers && grew != 1 {
		t.Fatalf("%v: generation from %d to %d", r.Kind, before.Generation, after.Generation)
	}
	for _, n := range after.Notices {
		if n.Change > before.Change && n.Nexus == r.Nexus {
			t.Fatalf("%v tells the nexus that asked", r.Kind)
		}
	}
	for _, n := range result.Abort {
		if before.Registered(n) == 0 || after.Registered(n) != 0 || n == r.Nexus {
			t.Fatalf("%v aborts %v, who was not preempted", r.Kind, n)
		}
	}
	if after.Type != None && after.Type.AllRegistrants() && after.Holder != (Nexus{}) {
		t.Fatalf("%v: all registrants, and %v, hold it", r.Kind, after.Holder)
	}
	var again State
	text, _ := json.Marshal(after)
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, after) {
		t.Fatalf("%s reads as %+v: %v", text, again, err)
	}
}
