// Package scrub decides what becomes of blocks that several copies were asked
// about, and condenses what they hold. It is pure: it is told what each copy says,
// and tells what is to be done.
package scrub

import (
	"slices"

	"ashlar/replication/wire"
)

// Copy is what one copy says of a range: the blocks that were ever written, in
// order. Those in Bad it cannot give; it may have been asked for what it knows of
// them alone, and then there are none.
type Copy struct {
	Node    wire.NodeID
	Changes []wire.Change
	Bad     []uint32
}

// Verdict is what becomes of a block whose copies are not all alike.
type Verdict uint8

const (
	// Mend: the copies in From have the block's highest version, and alike; the others are to get it.
	Mend Verdict = iota
	// Undecided: copies of one version differ, and nothing says which is right.
	Undecided
	// Gone: the highest version that is known of the block can be had from no copy. What
	// others have is older than what was acknowledged, so it is not taken for it.
	Gone
)

var verdictNames = [...]string{"mend", "undecided", "gone"}

func (v Verdict) String() string { return verdictNames[v] }

// Finding is one block whose copies differ, or of which one cannot give its data.
type Finding struct {
	Block   uint32
	Verdict Verdict
	From    []wire.NodeID // that have the newest; empty where Verdict is Gone
	Bad     []wire.NodeID // that cannot give it
	Old     []wire.NodeID // that have something else, of a lower version
}

// state is one copy of one block.
type state struct {
	version wire.Version
	crc     uint32
	zero    bool // reads as zeros
	bad     bool
	lost    bool // and its version is not known
}

// Compare finds the blocks of [block, block+count) whose copies are not alike. A block
// that was never written and one that was zeroed, with or without data, are: zeros
// over nothing leave no trace, and how much trace zeros leave is each disk's own matter.
func Compare(volume wire.VolumeID, segment wire.Segment, block, count uint32, copies []Copy) (found []Finding) {
	at := make([]int, len(copies)) // into Changes
	states := make([]state, len(copies))
	for b := block; b < block+count; b++ {
		some := false
		for i := range copies {
			states[i] = copies[i].next(volume, segment, b, &at[i])
			some = some || states[i] != state{zero: true}
		}
		if !some || alike(states) {
			continue
		}
		found = append(found, judge(b, copies, states))
	}
	return found
}

var zeros [wire.BlockSize]byte

// next is a copy's state of a block; at is where its changes go on.
func (c *Copy) next(volume wire.VolumeID, segment wire.Segment, block uint32, at *int) state {
	for *at < len(c.Changes) && c.Changes[*at].Block < block {
		*at++
	}
	s := state{zero: true}
	if *at < len(c.Changes) && c.Changes[*at].Block == block {
		k := c.Changes[*at]
		s = state{version: k.Version, crc: k.CRC, zero: reads(volume, segment, k)}
	}
	s.lost = s.version == wire.LostVersion
	s.bad = s.lost || slices.Contains(c.Bad, block)
	return s
}

// reads says whether a block reads as zeros.
func reads(volume wire.VolumeID, segment wire.Segment, k wire.Change) bool {
	return k.Zero || k.Version != wire.LostVersion && k.CRC == wire.BlockCRC(volume, segment, k.Block, zeros[:])
}

func (s state) like(o state) bool {
	return s.zero && o.zero || s.version == o.version && s.zero == o.zero && s.crc == o.crc
}

func alike(states []state) bool {
	for _, s := range states {
		if s.bad || !s.like(states[0]) {
			return false
		}
	}
	return true
}

func judge(block uint32, copies []Copy, states []state) Finding {
	f := Finding{Block: block, Verdict: Gone}
	var newest wire.Version
	for _, s := range states {
		if !s.lost && newest.Less(s.version) {
			newest = s.version
		}
	}
	best := -1
	for i, s := range states {
		switch {
		case s.bad || s.version != newest:
		case best < 0:
			best, f.Verdict = i, Mend
		case !s.like(states[best]):
			f.Verdict = Undecided
		}
	}
	for i, s := range states {
		n := copies[i].Node
		switch {
		case s.bad:
			f.Bad = append(f.Bad, n)
		case best >= 0 && (s.version == newest || s.like(states[best])):
			f.From = append(f.From, n)
		default:
			f.Old = append(f.Old, n)
		}
	}
	return f
}
