package scrub

import (
	"reflect"
	"testing"

	"ashlar/replication/wire"
)

func at(seq uint64) wire.Version { return wire.Version{Epoch: 1, Seq: seq} }

// block is block 5 as a copy has it.
func block(v wire.Version, crc uint32) wire.Change {
	return wire.Change{Block: 5, Version: v, CRC: crc}
}

func zeroed(v wire.Version) wire.Change { return wire.Change{Block: 5, Version: v, Zero: true} }

var lost = block(wire.LostVersion, 0)

type copies = []Copy

func one(n wire.NodeID, k ...wire.Change) Copy { return Copy{Node: n, Changes: k} }

func bad(n wire.NodeID, k ...wire.Change) Copy { return Copy{Node: n, Changes: k, Bad: []uint32{5}} }

func nodes(n ...wire.NodeID) []wire.NodeID { return n }

func TestWhatBecomesOfABlock(t *testing.T) {
	ofZeros := wire.BlockCRC(1, 2, 5, make([]byte, wire.BlockSize))
	for name, c := range map[string]struct {
		copies copies
		want   *Finding // nil: they are alike
	}{
		"alike":                        {copies{one(1, block(at(3), 7)), one(2, block(at(3), 7))}, nil},
		"never written":                {copies{one(1), one(2)}, nil},
		"zeros over nothing":           {copies{one(1, zeroed(at(4))), one(2)}, nil},
		"zeros, as data and without":   {copies{one(1, zeroed(at(4))), one(2, block(at(4), ofZeros)), one(3)}, nil},
		"an old block":                 {copies{one(1, block(at(3), 7)), one(2, block(at(4), 8))}, &Finding{Verdict: Mend, From: nodes(2), Old: nodes(1)}},
		"an old block with equal data": {copies{one(1, block(at(3), 8)), one(2, block(at(4), 8))}, &Finding{Verdict: Mend, From: nodes(2), Old: nodes(1)}},
		"a lost first write":           {copies{one(1), one(2, block(at(4), 8))}, &Finding{Verdict: Mend, From: nodes(2), Old: nodes(1)}},
		"lost zeros":                   {copies{one(1, block(at(3), 7)), one(2, zeroed(at(4)))}, &Finding{Verdict: Mend, From: nodes(2), Old: nodes(1)}},
		"bad":                          {copies{bad(1, block(at(4), 8)), one(2, block(at(4), 8))}, &Finding{Verdict: Mend, From: nodes(2), Bad: nodes(1)}},
		"lost":                         {copies{bad(1, lost), one(2, block(at(4), 8))}, &Finding{Verdict: Mend, From: nodes(2), Bad: nodes(1)}},
		"lost, and never written":      {copies{bad(1, lost), one(2)}, &Finding{Verdict: Mend, From: nodes(2), Bad: nodes(1)}},
		"lost, and not looked at":      {copies{one(1, lost), one(2, block(at(4), 8))}, &Finding{Verdict: Mend, From: nodes(2), Bad: nodes(1)}},
		"bad, old, and good": {copies{bad(1, block(at(4), 8)), one(2, block(at(3), 7)), one(3, block(at(4), 8))},
			&Finding{Verdict: Mend, From: nodes(3), Bad: nodes(1), Old: nodes(2)}},
		"two of one version": {copies{one(1, block(at(4), 7)), one(2, block(at(4), 8))}, &Finding{Verdict: Undecided, From: nodes(1, 2)}},
		"two of one version, one of it bad": {copies{bad(1, block(at(4), 7)), one(2, block(at(4), 8))},
			&Finding{Verdict: Mend, From: nodes(2), Bad: nodes(1)}},
		"the newest is bad":    {copies{bad(1, block(at(4), 8)), one(2, block(at(3), 7))}, &Finding{Verdict: Gone, Bad: nodes(1), Old: nodes(2)}},
		"all are bad":          {copies{bad(1, block(at(4), 8)), bad(2, block(at(4), 8))}, &Finding{Verdict: Gone, Bad: nodes(1, 2)}},
		"all are lost":         {copies{bad(1, lost), bad(2, lost)}, &Finding{Verdict: Gone, Bad: nodes(1, 2)}},
		"the only one is bad":  {copies{bad(1, block(at(4), 8))}, &Finding{Verdict: Gone, Bad: nodes(1)}},
		"the only one is good": {copies{one(1, block(at(4), 8))}, nil},
	} {
		var want []Finding
		if c.want != nil {
			c.want.Block = 5
			want = []Finding{*c.want}
		}
		if got := Compare(1, 2, 0, LeafBlocks, c.copies); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestOnlyTheRangeIsCompared(t *testing.T) {
	list := copies{one(1, block(at(3), 7)), one(2)}
	if got := Compare(1, 2, 0, 5, list); len(got) > 0 {
		t.Errorf("below it: %+v", got)
	}
	if got := Compare(1, 2, 6, 5, list); len(got) > 0 {
		t.Errorf("above it: %+v", got)
	}
	if got := Compare(1, 2, 5, 1, list); len(got) != 1 {
		t.Errorf("of it alone: %+v", got)
	}
}

func TestCopiesThatAreAlikeHaveOneHash(t *testing.T) {
	ofZeros := wire.BlockCRC(1, 2, 5, make([]byte, wire.BlockSize))
	with := wire.Change{Block: 9, Version: at(1), CRC: 77}
	a, n := LeafOf(1, 2, []wire.Change{zeroed(at(4)), with})
	for _, other := range [][]wire.Change{{with}, {block(at(9), ofZeros), with}, {{Block: 9, Version: at(8), CRC: 77}}} {
		if b, m := LeafOf(1, 2, other); a != b || n != m || n != 1 {
			t.Errorf("%+v has another hash, or other %d blocks", other, m)
		}
	}
	for _, other := range [][]wire.Change{nil, {{Block: 9, Version: at(1), CRC: 78}}, {{Block: 8, Version: at(1), CRC: 77}}} {
		if b, _ := LeafOf(1, 2, other); a == b {
			t.Errorf("%+v has the same hash", other)
		}
	}
	if Root([]Leaf{a, {}}) == Root([]Leaf{{}, a}) {
		t.Error("the order of the leaves does not matter")
	}
}
