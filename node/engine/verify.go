package engine

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/scrub"
	"ashlar/replication/wire"
)

const aboutSweep = "sweep"

// How a verification asks: a head's node compares for a while and answers, so that nothing of
// it is lost when the head moves, and nothing goes on when nobody asks any more.
const (
	sweepMax    = 400 * time.Millisecond
	sweepLeaves = 1024
	sweepPause  = 200 * time.Millisecond
	sweepTries  = 50 // of one place, before it is left out
	sweepNamed  = 100
)

// Place is a block of a volume.
type Place struct {
	Segment wire.Segment
	Block   uint32
}

// Sweep asks a head's node to compare a volume's copies from a place on.
type Sweep struct {
	Volume wire.VolumeID
	From   Place
	Data   bool // and read them
	Mend   bool
}

// Swept is how far that came.
type Swept struct {
	NotHead bool // the node that was asked is not the head
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
		if len(out.Found) < sweepNamed {
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

// sweep answers another node.
func (e *Engine) sweep(_ wire.NodeID, question json.RawMessage) any {
	var o Sweep
	if err := json.Unmarshal(question, &o); err != nil {
		return Swept{NotHead: true}
	}
	ctx, cancel := context.WithTimeout(e.ctx, 2*sweepMax)
	defer cancel()
	out := Swept{Next: o.From}
	began := time.Now()
	for time.Since(began) < sweepMax && len(out.Leaves) < sweepLeaves*sha256.Size {
		if e.compareNext(ctx, o, e.Consensus.State(), &out) != nil {
			out.Broken = true
		}
		if out.NotHead || out.Broken || out.End {
			break
		}
		o.From = out.Next
	}
	return out
}

// Verify compares every in-sync copy of every segment of a volume, block by block: version,
// checksum, and that the data on the disk matches it; with mend, what differs is made
// equal where it is known how. The head may move meanwhile. progress is called
// with segments done and all.
func (e *Engine) Verify(ctx context.Context, id wire.VolumeID, mend bool, progress func(done, all int)) (Verification, error) {
	out := Verification{}
	began, at, tries := time.Now(), Place{}, 0
	root, whole := sha256.New(), true
	for {
		st := e.Consensus.State()
		v := st.Volumes[id]
		if v == nil {
			return out, fmt.Errorf("volume %d was deleted", id)
		}
		progress(int(at.Segment), len(v.Segments))
		x := e.askSweep(ctx, v.Head, Sweep{id, at, true, mend})
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if x.Next != at {
			tries = 0
		}
		out.add(st, x)
		root.Write(x.Leaves)
		whole = whole && !x.Torn
		if x.End {
			break
		}
		if at = x.Next; !x.Broken && !x.NotHead {
			continue
		}
		if tries++; tries > sweepTries {
			if x.NotHead {
				return out, fmt.Errorf("volume %q has no head that answers", v.Name)
			}
			var skip Swept
			count := min(scrub.LeafBlocks, uint32(st.SegmentBytes/wire.BlockSize)-at.Block)
			skip.pass(st, v, at, count)
			out.Counts.Skipped += uint64(count)
			if len(out.Differences) < sweepNamed {
				out.Differences = append(out.Differences, fmt.Sprintf("segment %d blocks %d to %d: a copy could not be asked", at.Segment, at.Block, at.Block+count-1))
			}
			whole, tries, at = false, 0, skip.Next
			if skip.End {
				break
			}
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(sweepPause):
		}
	}
	out.Took = time.Since(began)
	if whole {
		out.Root = (*scrub.Leaf)(root.Sum(nil))
	}
	return out, nil
}

// askSweep asks the head's node.
func (e *Engine) askSweep(ctx context.Context, head wire.NodeID, o Sweep) Swept {
	text, ok := e.Ask(ctx, head, aboutSweep, o)
	out := Swept{NotHead: true, Next: o.From}
	if !ok {
		return out
	}
	var x Swept
	if err := json.Unmarshal(text, &x); err != nil || len(x.Leaves)%sha256.Size != 0 {
		e.Log.Warn("a malformed answer about a volume's copies", "from", head, "error", err)
		return out
	}
	return x
}

func (v *Verification) add(st *cluster.State, x Swept) {
	v.Copies += x.Copies
	v.Blocks += x.Blocks
	v.Counts.Differing += x.Counts.Differing
	v.Counts.Mended += x.Counts.Mended
	for _, d := range x.Found {
		to := &v.Differences
		if d.Mended {
			to = &v.Repaired
		}
		if len(*to) < sweepNamed {
			*to = append(*to, d.words(st))
		}
	}
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
