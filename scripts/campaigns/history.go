package campaigns

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is an attempt to read or write a block. No two attempts write the same tag,
// so a read tells which one it saw.
type operation struct {
	client      int
	write       bool
	givenUp     bool // a write of which its host never heard: it may have no effect
	tag         uint64
	call, until time.Duration // it takes effect between them
}

func (o operation) String() string {
	what := "read"
	if o.write {
		what = "write"
	}
	if o.givenUp {
		what = "given up write"
	}
	return fmt.Sprintf("%s of %d by host %d in [%.3f s, %.3f s]", what, o.tag, o.client, o.call.Seconds(), o.until.Seconds())
}

// effective leaves out the writes that were given up and that nobody saw: had they no
// effect, the others mean the same.
func effective(history []operation) (out []operation) {
	seen := map[uint64]bool{}
	for _, o := range history {
		seen[o.tag] = seen[o.tag] || !o.write
	}
	for _, o := range history {
		if !o.givenUp || seen[o.tag] {
			out = append(out, o)
		}
	}
	return out
}

// judgeRegister searches for an order of operations on a block that a single copy, which holds a tag
// at first, could have carried them out in. It is "" where there is one.
func judgeRegister(held uint64, history []operation, patience time.Duration) string {
	var all []porcupine.Operation
	for _, o := range effective(history) {
		all = append(all, porcupine.Operation{ClientId: o.client, Input: o, Output: o.tag, Call: int64(o.call), Return: int64(o.until)})
	}
	switch porcupine.CheckOperationsTimeout(register(held), all, patience) {
	case porcupine.Illegal:
		return fmt.Sprintf("%d operations are not linearizable", len(all))
	case porcupine.Unknown:
		return fmt.Sprintf("%d operations are too hard to judge", len(all))
	}
	return ""
}

func register(held uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return held },
		Step: func(state, in, out any) (bool, any) {
			if in.(operation).write {
				return true, out
			}
			return state == out, state
		},
	}
}

// zone is the time of a tag: of the operations that wrote or read it.
type zone struct {
	first, last operation // to end, to begin
	write       operation
}

// A tag surely was the block's content in its forward zone, from the end of the first of
// its operations to the beginning of the last one. Where all of them overlap, it may have been
// so for a moment only, somewhere in its backward zone.
func (z zone) forward() bool { return z.first.until < z.last.call }

func (z zone) from() time.Duration { return min(z.first.until, z.last.call) }
func (z zone) to() time.Duration   { return max(z.first.until, z.last.call) }

// judgeUnique judges a block's whole history by its unique tags (Gibbons and Korach, Testing
// Shared Memories, 1997, theorem 4.1): no forward zone overlaps another or has a backward one
// within it, and no read ends before the write of its tag begins. It is "" where that holds.
// The history begins with the tag 0.
func judgeUnique(history []operation) string {
	zones := map[uint64]*zone{0: {write: operation{write: true, call: math.MinInt64, until: math.MinInt64}}}
	zones[0].first, zones[0].last = zones[0].write, zones[0].write
	history = effective(history)
	for _, o := range history {
		if o.write {
			zones[o.tag] = &zone{o, o, o}
		}
	}
	for _, o := range history {
		z := zones[o.tag]
		if z == nil {
			return fmt.Sprintf("%v: nobody wrote that", o)
		}
		if o.until < z.write.call {
			return fmt.Sprintf("%v before the %v", o, z.write)
		}
		if o.until < z.first.until {
			z.first = o
		}
		if o.call > z.last.call {
			z.last = o
		}
	}
	all := make([]*zone, 0, len(zones))
	for _, z := range zones {
		all = append(all, z)
	}
	slices.SortFunc(all, func(a, b *zone) int { return cmp.Compare(a.from(), b.from()) })
	var before *zone // the forward zone that ends last of those that began
	for _, z := range all {
		if before != nil && z.from() < before.to() && (z.forward() || z.from() > before.from() && z.to() < before.to()) {
			return fmt.Sprintf("%v and %v, but in between %v", before.first, before.last, z.first)
		}
		if z.forward() {
			before = z
		}
	}
	return ""
}
