package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/scrub"
	"ashlar/replication/wire"
)

// Place is a block of a volume.
type Place struct {
	Segment wire.Segment
	Block   uint32
}

// Sweep is what of a volume's copies is to be compared: a piece from a place on.
type Sweep struct {
	Volume wire.VolumeID
	From   Place
	Data   bool // and read them
	Mend   bool
}

// Swept is how far that came.
type Swept struct {
	NotHead bool // this node is not the head any more
	Broken  bool // a copy could not be asked
	End     bool // that was all
	Next    Place
	Copies  int // of segments that began in what was compared
	Blocks  uint64
	Leaves  []byte // of what was compared, one after the other
	Torn    bool   // copies differ, so that there are no hashes
	Counts  cluster.Counts
	Found   []Difference
}

// Difference is one block of which not all copies were alike and good.
type Difference struct {
	Segment wire.Segment
	scrub.Finding
	Mended bool
}

// Verification is what a comparison of all copies of a volume found.
type Verification struct {
	Copies      int    // of segments
	Blocks      uint64 // of 4 KiB that do not read as zeros
	Counts      cluster.Counts
	Differences []string    // blocks of which not all copies are alike and good, in words; a bounded number of them
	Repaired    []string    // blocks of which they are by now
	Root        *scrub.Leaf // nil: copies differ, or some could not be compared
	Took        time.Duration
}

// Equal says whether all copies were compared and are alike now.
func (v *Verification) Equal() bool {
	return v.Counts.Differing == v.Counts.Mended && v.Counts.Skipped == 0
}

// compareNext has the head here compare one piece from a place on.
func (e *Engine) compareNext(ctx context.Context, o Sweep, st *cluster.State, out *Swept) error {
	here, agreed := e.volume(o.Volume), st.Volumes[o.Volume]
	if here == nil || agreed == nil {
		out.NotHead = true
		return nil
	}
	blocks := uint32(st.SegmentBytes / wire.BlockSize)
	count := min(scrub.LeafBlocks, blocks-o.From.Block)
	x, err := here.Scrub(ctx, mirror.Range{Segment: o.From.Segment, Block: o.From.Block, Count: count, Data: o.Data, Mend: o.Mend})
	if err != nil {
		out.NotHead = ctx.Err() == nil
		return ctx.Err()
	}
	if !x.Ended {
		out.Broken = true
		return nil
	}
	if o.From.Block == 0 {
		out.Copies += x.Copies
	}
	out.Blocks += uint64(x.Blocks)
	out.Counts.Differing += uint64(len(x.Found))
	out.Counts.Mended += uint64(x.Mended)
	for _, f := range x.Found {
		if len(out.Found) < cluster.JobNamed {
			out.Found = append(out.Found, Difference{o.From.Segment, f, x.Mended == len(x.Found)})
		}
	}
	out.Torn = out.Torn || !x.Whole
	out.Leaves = append(out.Leaves, x.Leaf[:]...)
	out.pass(st, agreed, o.From, count)
	return nil
}

// pass goes on behind a piece.
func (s *Swept) pass(st *cluster.State, v *cluster.Volume, at Place, count uint32) {
	s.Next = Place{at.Segment, at.Block + count}
	if uint64(s.Next.Block) >= st.SegmentBytes/wire.BlockSize {
		s.Next = Place{at.Segment + 1, 0}
	}
	s.End = int(s.Next.Segment) >= len(v.Segments)
}

// leaveOut goes on behind a piece that cannot be compared.
func leaveOut(st *cluster.State, v *cluster.Volume, at Place) (x Swept) {
	count := min(scrub.LeafBlocks, uint32(st.SegmentBytes/wire.BlockSize)-at.Block)
	x.pass(st, v, at, count)
	x.Torn, x.Counts.Skipped = true, uint64(count)
	return x
}

// VerificationOf is what a job found that compares copies.
func VerificationOf(j *cluster.Job) Verification {
	v := Verification{Copies: j.Copies, Blocks: j.Blocks, Counts: j.Counts, Differences: j.Differences, Repaired: j.Repaired}
	if j.Ended > j.Began {
		v.Took = time.Duration(j.Ended-j.Began) * time.Millisecond
	}
	if len(j.Root) == sha256.Size {
		v.Root = (*scrub.Leaf)(j.Root)
	}
	return v
}

func (d Difference) words(st *cluster.State) string {
	names := func(ids []wire.NodeID) string {
		var list []string
		for _, id := range ids {
			if n := st.Nodes[id]; n != nil {
				list = append(list, fmt.Sprintf("%q", n.Name))
			}
		}
		return strings.Join(list, ", ")
	}
	text := fmt.Sprintf("segment %d block %d:", d.Segment, d.Block)
	if len(d.Bad) > 0 {
		text += fmt.Sprintf(" bad on %s;", names(d.Bad))
	}
	if len(d.Old) > 0 {
		text += fmt.Sprintf(" old on %s;", names(d.Old))
	}
	switch d.Verdict {
	case scrub.Undecided:
		return text + fmt.Sprintf(" those on %s are of one version and differ, and nothing says which is right", names(d.From))
	case scrub.Gone:
		return text + " its newest version can be read from no copy"
	}
	return text + fmt.Sprintf(" good on %s", names(d.From))
}
