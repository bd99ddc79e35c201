package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// askBit marks requests of this node itself, apart from those of its heads.
const askBit = uint64(1) << 63

const (
	verifyTries  = 5   // a write in flight is on some copies first
	verifyBlocks = 256 // in one read
	verifyNamed  = 20  // differences told in words
)

// Verification is what a comparison of all copies of a volume found.
type Verification struct {
	Copies      int      // of segments
	Blocks      uint64   // of 4 KiB that hold data or held some, compared
	Differences []string // in words, a bounded number of them
}

// waiter passes the answer to one request on.
type waiter chan wire.Message

func (w waiter) Reply(_ wire.VolumeID, m wire.Message) { w <- m }

// ask sends a request to a node's copies, this one's too, and waits for the answer.
func (e *Engine) ask(ctx context.Context, to wire.NodeID, v wire.VolumeID, m func(req uint64) wire.Message) (wire.Message, error) {
	w := make(waiter, 1)
	e.mu.Lock()
	e.lastAsk++
	req := e.lastAsk
	e.asks[req] = w
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.asks, req)
		e.mu.Unlock()
	}()
	if to == e.Self {
		here := e.volume(v)
		if here == nil {
			return nil, fmt.Errorf("no volume %d here any more", v)
		}
		here.Request(w, m(req))
		defer here.Forget(w)
	} else {
		e.Send(to, v, m(req))
	}
	select {
	case r := <-w:
		return r, nil
	case <-time.After(5 * time.Second):
		return nil, fmt.Errorf("node %d does not answer", to)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func request(m wire.Message) uint64 {
	switch m := m.(type) {
	case *wire.Page:
		return m.Req
	case *wire.Blocks:
		return m.Req
	}
	return 0
}

func refuse(s *inbound, v wire.VolumeID, m wire.Message) {
	if r := mirror.Refuse(m); r != nil {
		s.Reply(v, r)
	}
}

// Verify compares every in-sync copy of every segment of a volume, block by
// block: version, checksum, and that the data on the disk matches it. It asks
// under the present head's epoch, so a move of the head in between is an error.
func (e *Engine) Verify(ctx context.Context, id wire.VolumeID) (Verification, error) {
	var out Verification
	st := e.Consensus.State()
	v := st.Volumes[id]
	if v == nil || e.volume(id) == nil {
		return out, fmt.Errorf("no volume %d here", id)
	}
	for i := range v.Segments {
		if err := e.verifySegment(ctx, v, wire.Segment(i), &out); err != nil {
			return out, fmt.Errorf("segment %d: %w", i, err)
		}
	}
	return out, nil
}

func (e *Engine) verifySegment(ctx context.Context, v *cluster.Volume, seg wire.Segment, out *Verification) error {
	nodes := v.Segments[seg].InSync()
	var first map[uint32]wire.Change
	var differs []string
	for try := range verifyTries {
		if try > 0 {
			time.Sleep(200 * time.Millisecond)
		}
		differs, first = nil, nil
		for _, n := range nodes {
			m, err := e.blocks(ctx, n, v, seg)
			if err != nil {
				return err
			}
			if first == nil {
				first = m
			} else {
				differs = append(differs, compare(v, seg, nodes[0], first, n, m)...)
			}
		}
		if len(differs) == 0 {
			break
		}
	}
	for _, n := range nodes {
		bad, err := e.readable(ctx, n, v, seg, first)
		if err != nil {
			return err
		}
		differs = append(differs, bad...)
	}
	out.Copies += len(nodes)
	out.Blocks += uint64(len(first))
	for _, d := range differs {
		if len(out.Differences) < verifyNamed {
			out.Differences = append(out.Differences, d)
		}
	}
	return nil
}

// blocks lists all blocks that a copy has ever been given.
func (e *Engine) blocks(ctx context.Context, n wire.NodeID, v *cluster.Volume, seg wire.Segment) (map[uint32]wire.Change, error) {
	all := map[uint32]wire.Change{}
	for from := uint32(0); ; {
		r, err := e.ask(ctx, n, v.ID, func(req uint64) wire.Message {
			return &wire.Changes{Req: req, Volume: v.ID, Segment: seg, Epoch: v.Epoch, From: from}
		})
		if err != nil {
			return nil, err
		}
		p, ok := r.(*wire.Page)
		if !ok || p.Status != wire.OK {
			return nil, fmt.Errorf("the copy on node %d: %v", n, r)
		}
		for _, c := range p.Changes {
			all[c.Block] = c
		}
		if p.Next == 0 {
			return all, nil
		}
		from = p.Next
	}
}

var zeroBlock [wire.BlockSize]byte

// compare finds the blocks that read differently. A block that was never written
// and one that was zeroed, with or without data, are alike: zeros over nothing
// leave no trace, and how much trace zeros leave is each disk's own matter.
func compare(v *cluster.Volume, seg wire.Segment, an wire.NodeID, a map[uint32]wire.Change, bn wire.NodeID, b map[uint32]wire.Change) (differs []string) {
	zero := func(block uint32, c wire.Change) bool {
		return c.Zero || c.Version == (wire.Version{}) || c.CRC == wire.BlockCRC(v.ID, seg, block, zeroBlock[:])
	}
	differ := func(block uint32) bool {
		x, y := a[block], b[block]
		zx, zy := zero(block, x), zero(block, y)
		return zx != zy || !zx && (x.Version != y.Version || x.CRC != y.CRC)
	}
	blocks := maps.Clone(a)
	maps.Copy(blocks, b)
	for _, block := range slices.Sorted(maps.Keys(blocks)) {
		if differ(block) {
			differs = append(differs, fmt.Sprintf("segment %d block %d: node %d has %+v, node %d %+v", seg, block, an, a[block], bn, b[block]))
		}
	}
	return differs
}

// readable reads every block with data, so that the copy checks it against its checksum.
func (e *Engine) readable(ctx context.Context, n wire.NodeID, v *cluster.Volume, seg wire.Segment, blocks map[uint32]wire.Change) (bad []string, err error) {
	pieces := map[uint32]bool{}
	for b, c := range blocks {
		if !c.Zero {
			pieces[b/verifyBlocks] = true
		}
	}
	st := e.Consensus.State()
	inSegment := uint32(st.SegmentBytes / wire.BlockSize)
	for p := range pieces {
		first := p * verifyBlocks
		r, err := e.ask(ctx, n, v.ID, func(req uint64) wire.Message {
			return &wire.Read{Req: req, Volume: v.ID, Segment: seg, Epoch: v.Epoch, Block: first, Count: min(verifyBlocks, inSegment-first)}
		})
		if err != nil {
			return nil, err
		}
		switch m, ok := r.(*wire.Blocks); {
		case ok && m.Status == wire.Corrupt:
			bad = append(bad, fmt.Sprintf("segment %d blocks %v on node %d do not match their checksums", seg, m.Bad, n))
		case !ok || m.Status != wire.OK:
			return nil, fmt.Errorf("the copy on node %d: %v", n, r)
		}
	}
	return bad, nil
}
