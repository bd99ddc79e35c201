package sim

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Total is the sum of many schedules.
type Total struct {
	Schedules, Bad                               int
	FirstBad                                     uint64
	Operations, Events, Commands, Reigns, Busy   int
	Mended                                       int
	Lost, NotLinear, Undecided, Differing, Stuck int
	Violations                                   int
	SimulatedNS                                  int64
	Hash                                         uint64 // of all traces
	faults                                       map[string]int
}

// Add counts a schedule.
func (t *Total) Add(r *Result) {
	if r.Bad() {
		if t.Bad == 0 {
			t.FirstBad = r.Seed
		}
		t.Bad++
	}
	t.Schedules++
	t.Operations += r.Operations
	t.Events += r.Events
	t.Commands += r.Commands
	t.Reigns += r.Reigns
	t.Busy += r.Busy
	t.Mended += r.Mended
	t.Lost += r.Lost
	t.NotLinear += r.NotLinear
	t.Undecided += r.Undecided
	t.Differing += r.Differing
	t.Stuck += r.Stuck
	t.Violations += len(r.Violations)
	t.SimulatedNS += r.SimulatedNS
	t.Hash = t.Hash*1099511628211 ^ r.Hash
	if t.faults == nil {
		t.faults = map[string]int{}
	}
	for k, n := range r.Faults {
		t.faults[k] += n
	}
}

func (t *Total) String() string {
	faults, list := 0, []string{}
	for _, k := range slices.Sorted(maps.Keys(t.faults)) {
		faults += t.faults[k]
		list = append(list, fmt.Sprintf("%s %d", k, t.faults[k]))
	}
	return fmt.Sprintf(`schedules                   %d (bad: %d)
simulated hours             %.1f
events                      %d
operations                  %d (answered busy: %d)
cluster commands            %d
reigns                      %d
faults                      %d (%s)
blocks mended by scrubs     %d
lost acknowledged writes    %d
non-linearizable sectors    %d (undecided: %d)
differing blocks            %d
stuck                       %d
broken invariants           %d
hash of all traces          %016x`, t.Schedules, t.Bad, float64(t.SimulatedNS)/3600/float64(second), t.Events, t.Operations, t.Busy,
		t.Commands, t.Reigns, faults, strings.Join(list, ", "), t.Mended, t.Lost, t.NotLinear, t.Undecided, t.Differing, t.Stuck, t.Violations, t.Hash)
}

// BugNames lists the bugs that can be planted.
func BugNames() (names []string) {
	each(reflect.ValueOf(&Planted{}).Elem(), func(name string, _ reflect.Value) { names = append(names, name) })
	return names
}

// Plant sets the bug of a name; "": none.
func Plant(name string) (p Planted, ok bool) {
	ok = name == ""
	each(reflect.ValueOf(&p).Elem(), func(n string, v reflect.Value) {
		if n == name {
			v.SetBool(true)
			ok = true
		}
	})
	return p, ok
}

func each(v reflect.Value, do func(name string, v reflect.Value)) {
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Struct {
			each(f, do)
		} else {
			do(v.Type().Field(i).Name, f)
		}
	}
}
