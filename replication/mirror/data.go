package mirror

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"ashlar/replication/wire"
)

// repair is a block whose data one copy could not give.
type repair struct {
	seg   *segment
	block uint32
}

// fetch reads blocks of one segment from whichever in-sync copies can give them.
type fetch struct {
	seg          *segment
	block, count uint32
	from         []wire.NodeID // only from these, where set; they are in sync
	tail         bool          // of a tail, which from are the holders of
	strict       bool          // from nobody else, even where they cannot give it
	keep         bool          // keep versions and checksums
	into         *gathering    // that it is a part of, from byte at on, or
	at           uint64
	room         []byte // nil, or where the first copy that is asked, this node's, puts the data
	done         func(wire.Status)
	gone         func() bool // nobody wants it any more

	data     []byte
	versions []wire.Version
	crc      []uint32
	need     []uint32 // blocks, from f.block on, that no copy has given; nil: all
	tried    []wire.NodeID
	passed   []wire.NodeID // could not answer in this round
	bad      []repair
	least    map[uint32]wire.Version // that a block must have: a copy has lost it

	asked int                      // how many requests there were
	loose bool                     // something may refer to it when it has ended
	tries [usualCopies]wire.NodeID // what tried lies in, where there are no more
	first asking[wire.Read]        // the first of them
}

// unwanted says whether nobody waits for it any more.
func (f *fetch) unwanted() bool {
	return f.into != nil && f.into.op.answered || f.gone != nil && f.gone()
}

// zero says whether block i is all zeros: then it is written without data.
func (f *fetch) zero(i uint32) bool {
	return allZero(f.data[i*wire.BlockSize : (i+1)*wire.BlockSize])
}

// run is how many blocks from i on are like it, zero or not.
func (f *fetch) run(i uint32) uint32 {
	n := uint32(1)
	for i+n < f.count && f.zero(i+n) == f.zero(i) {
		n++
	}
	return n
}

var zeros [wire.BlockSize]byte

func allZero(b []byte) bool {
	for len(b) >= len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// source picks the copy to read: this node's own if it may, else any that answers.
func (h *Head) source(f *fetch) (wire.NodeID, bool) {
	var best wire.NodeID
	for _, m := range f.seg.view.Members {
		may := m.InSync && h.allowed(f, m.Node)
		if h.bugs.ReadOutOfSync && m.Node == h.self && f.from == nil {
			may = true
		}
		if !may || slices.Contains(f.tried, m.Node) || slices.Contains(f.passed, m.Node) {
			continue
		}
		if p := h.peer(m.Node); !p.connected || !p.prepared {
			continue
		}
		if m.Node == h.self {
			return m.Node, true
		}
		if best == 0 {
			best = m.Node
		}
	}
	return best, best != 0
}

func (h *Head) allowed(f *fetch, n wire.NodeID) bool {
	return f.from == nil || slices.Contains(f.from, n)
}

// exhausted says whether every copy that might have the data was asked.
func (h *Head) exhausted(f *fetch) bool {
	for _, m := range f.seg.view.Members {
		if m.InSync && h.allowed(f, m.Node) && !slices.Contains(f.tried, m.Node) {
			return false
		}
	}
	return true
}

// fetch asks one copy after the other until all blocks are there. Where copies
// cannot be reached it waits; where all have bad data it says MediumError.
func (h *Head) fetch(f *fetch) {
	if f.unwanted() {
		h.fetchEnds(f, wire.Aborted)
		return
	}
	if f.from != nil && h.exhausted(f) && !f.strict && !h.bugs.TailHolder {
		// What was acknowledged or read is on every in-sync copy. So where the
		// copies that were to give a block have left the set, or cannot give it,
		// what only they had was never seen, and any other copy will do.
		f.from = nil
	}
	n, ok := h.source(f)
	if !ok {
		if (len(f.tried) > 0 || f.strict) && h.exhausted(f) {
			h.fetchEnds(f, wire.MediumError)
			return
		}
		f.passed, f.loose = nil, true
		h.later(func() { h.fetch(f) })
		return
	}
	h.lastReq++
	c := &f.first
	if f.asked++; f.asked > 1 {
		c = new(asking[wire.Read])
	}
	c.msg = wire.Read{Req: h.lastReq, Volume: h.volume, Segment: f.seg.index, Epoch: h.epoch, Block: f.block, Count: f.count}
	c.call = call{node: n, msg: &c.msg, fetch: f}
	if f.room != nil && n == h.self {
		c.msg.Into, c.call.user = f.room, f.into.op
		f.into.op.users++
	}
	f.room = nil
	h.request(h.lastReq, &c.call)
}

func (h *Head) fetchEnds(f *fetch, s wire.Status) {
	if f.into != nil {
		h.gathered(f, s)
	} else {
		f.done(s)
	}
}

func (h *Head) fetched(f *fetch, n wire.NodeID, m *wire.Blocks) {
	if !f.fits(m) {
		if m.Status == wire.Failed {
			f.tried = append(f.tried, n) // its disk gives no data at all
		}
		// Another copy may have it; this one is asked again when none has.
		f.passed = append(f.passed, n)
		h.fetch(f)
		return
	}
	if f.tried == nil {
		f.tried = f.tries[:0]
	}
	f.tried = append(f.tried, n)
	f.lost(m, h.bugs)
	if f.data == nil {
		f.data, f.need = m.Data, m.Bad
		if len(m.Bad) > 0 || f.keep || f.into == nil || f.into.op.versions != nil {
			f.crc, f.versions = slices.Clone(m.CRC), slices.Clone(m.Versions) // the answer's are somebody else's later
		}
	} else {
		still := f.need[:0]
		for _, b := range f.need {
			if slices.Contains(m.Bad, b) || m.Versions[b-f.block].Less(f.least[b]) {
				still = append(still, b)
				continue
			}
			i := b - f.block
			copy(f.data[i*wire.BlockSize:(i+1)*wire.BlockSize], m.Data[i*wire.BlockSize:])
			f.crc[i], f.versions[i] = m.CRC[i], m.Versions[i]
		}
		f.need = still
	}
	if len(f.need) > 0 && !h.bugs.BadTaken {
		h.fetch(f)
		return
	}
	h.fetchEnds(f, wire.OK)
}

// lost notes what a copy could not give. It mostly knows the block's version, and
// another copy's data stands for it only where that is not older: what is, was
// overwritten, and a disk has lost what it was overwritten with. Of a tail an older
// one will do, since what only its holders have was never seen.
func (f *fetch) lost(m *wire.Blocks, bugs Bugs) {
	for _, b := range m.Bad {
		f.bad = append(f.bad, repair{f.seg, b})
		v := m.Versions[b-f.block]
		if f.tail || v == wire.LostVersion || bugs.OlderRead {
			continue
		}
		if f.least == nil {
			f.least = map[uint32]wire.Version{}
		}
		if f.least[b].Less(v) {
			f.least[b] = v
		}
	}
}

// fits says whether an answer gives what was asked for, but for its bad blocks.
func (f *fetch) fits(m *wire.Blocks) bool {
	for _, b := range m.Bad {
		if b < f.block || b-f.block >= f.count {
			return false
		}
	}
	return (m.Status == wire.OK || m.Status == wire.Corrupt) && uint32(len(m.Data)) == f.count*wire.BlockSize &&
		uint32(len(m.CRC)) == f.count && uint32(len(m.Versions)) == f.count
}

// piece is a part of an operation in one segment, at most pieceBlocks long.
type piece struct {
	seg          *segment
	block, count uint32
	at           uint64 // of its first byte, in bytes from the first block of the operation
}

// pieces cuts the blocks of [offset, offset+length) at the borders of segments.
func (h *Head) pieces(offset, length uint64) iter.Seq[piece] {
	return func(yield func(piece) bool) {
		first, last := offset/wire.BlockSize, (offset+length-1)/wire.BlockSize
		for b := first; b <= last; {
			p := h.piece(b, last)
			p.at = (b - first) * wire.BlockSize
			if !yield(p) {
				return
			}
			b += uint64(p.count)
		}
	}
}

// piece is the one that begins at block from of the volume, of a range up to last.
func (h *Head) piece(from, last uint64) piece {
	seg, in := h.segments[from/h.segBlocks], from%h.segBlocks
	return piece{seg: seg, block: uint32(in), count: uint32(min(last-from+1, h.segBlocks-in, pieceBlocks))}
}

// gathering reads a range into whole blocks, for an operation.
type gathering struct {
	op     *Op
	blocks []byte
	left   int // pieces that are not there
	worst  wire.Status
	pieces int                                // of which it is made
	done   func(blocks []byte, s wire.Status) // nil: it is a read, which ends with it
	first  fetch                              // mostly the only one
}

// gather reads [offset, offset+length).
func (h *Head) gather(op *Op, offset, length uint64, done func(blocks []byte, s wire.Status)) {
	g := h.gatherings.get()
	g.op, g.left, g.done = op, 1, done
	op.users++
	first, last := offset/wire.BlockSize, (offset+length-1)/wire.BlockSize
	if n := last - first + 1; n > uint64(h.piece(first, last).count) {
		g.blocks = make([]byte, n*wire.BlockSize)
	}
	if op.Kind == wire.OpCompareAndWrite {
		op.versions = make([]wire.Version, last-first+1)
	}
	for p := range h.pieces(offset, length) {
		f := &g.first
		if p.at > 0 {
			f = new(fetch)
		}
		f.seg, f.block, f.count, f.into, f.at = p.seg, p.block, p.count, g, p.at
		if uint64(p.count)*wire.BlockSize == uint64(len(op.Into)) && offset%wire.BlockSize == 0 && op.Kind == wire.OpRead {
			f.room = op.Into
		}
		g.pieces++
		g.left++
		h.fetch(f)
	}
	h.pieceGathered(g)
}

// gathered takes a piece.
func (h *Head) gathered(f *fetch, s wire.Status) {
	g := f.into
	if g.op.versions != nil {
		copy(g.op.versions[f.at/wire.BlockSize:], f.versions)
	}
	if s != wire.OK {
		g.worst = s
	} else if g.blocks == nil {
		g.blocks = f.data
	} else {
		copy(g.blocks[f.at:], f.data)
	}
	g.op.repairs = append(g.op.repairs, f.bad...)
	h.pieceGathered(g)
}

func (h *Head) pieceGathered(g *gathering) {
	if g.left--; g.left > 0 {
		return
	}
	g.op.users--
	if g.pieces == 1 && g.first.asked == 1 && !g.first.loose && g.done == nil {
		h.gatherings.give(g) // nobody else has any part of it
	}
	if g.done != nil {
		g.done(g.blocks, g.worst)
	} else {
		h.endRead(g.op, g.blocks, g.worst)
	}
}

func (h *Head) startRead(op *Op) { h.gather(op, op.Offset, op.Length, nil) }

// endRead ends a read, or a VERIFY.
func (h *Head) endRead(op *Op, blocks []byte, s wire.Status) {
	if s == wire.OK {
		got := blocks[op.Offset%wire.BlockSize:][:op.Length]
		if op.Kind == wire.OpRead {
			op.Data = got
		} else if op.Data != nil {
			s = h.compare(op, op.Data, got)
		}
	}
	h.conclude(op, s)
	h.repair(op)
}

// compare finds the first byte that differs.
func (h *Head) compare(op *Op, want, got []byte) wire.Status {
	for i := range want {
		if want[i] != got[i] {
			op.Miss = uint64(i)
			return wire.Miscompare
		}
	}
	return wire.OK
}

// repair rewrites blocks that a copy could not give, from one that could.
func (h *Head) repair(op *Op) {
	bad := op.repairs
	op.repairs = nil
	for _, r := range bad {
		if r.seg.state == serving {
			h.mend(r.seg, r.block, 1, mendWhat{differing: true}, func(mended) {})
		}
	}
}

// startWrite brings a write to whole blocks first: those it covers in part are
// read and completed here, once, so that copies only ever see whole blocks.
func (h *Head) startWrite(op *Op) {
	data := op.Data
	if op.Kind != wire.OpWrite {
		data = nil
	}
	head := op.Offset % wire.BlockSize
	tail := (op.Offset + op.Length) % wire.BlockSize
	op.parts = 1
	if head == 0 && tail == 0 {
		h.writeParts(op, op.Offset, op.Length, data)
		return
	}
	if data == nil && head+op.Length > 2*wire.BlockSize {
		h.zeroEdges(op, head, tail)
		return
	}
	if data == nil {
		data = make([]byte, op.Length)
	}
	h.merge(op, op.Offset, data)
}

// merge completes data at offset to whole blocks with what is there around it,
// and writes them: one part of the operation.
func (h *Head) merge(op *Op, offset uint64, data []byte) {
	length := uint64(len(data))
	start := offset / wire.BlockSize * wire.BlockSize
	end := (offset + length + wire.BlockSize - 1) / wire.BlockSize * wire.BlockSize
	blocks := make([]byte, end-start)
	copy(blocks[offset-start:], data)
	// Of what is there only the first and the last block can matter.
	h.gather(op, start, wire.BlockSize, func(first []byte, s wire.Status) {
		if s != wire.OK {
			h.partDone(op, s)
			return
		}
		copy(blocks[:offset-start], first)
		finish := func(last []byte) {
			after := end - offset - length
			copy(blocks[uint64(len(blocks))-after:], last[wire.BlockSize-after:])
			if op.answered { // and not sequenced: nothing of it may be seen any more
				h.partDone(op, wire.Aborted)
				return
			}
			h.writeParts(op, start, uint64(len(blocks)), blocks)
		}
		if end-start == wire.BlockSize {
			finish(first)
			return
		}
		h.gather(op, end-wire.BlockSize, wire.BlockSize, func(last []byte, s wire.Status) {
			if s != wire.OK {
				h.partDone(op, s)
				return
			}
			finish(last)
		})
	})
}

// zeroEdges zeroes a long range whose ends are not at blocks: the edges by data,
// the blocks between as such.
func (h *Head) zeroEdges(op *Op, head, tail uint64) {
	inner, end := op.Offset, op.Offset+op.Length
	if head != 0 {
		n := wire.BlockSize - head
		op.parts++
		h.merge(op, op.Offset, make([]byte, n))
		inner += n
	}
	if tail != 0 {
		op.parts++
		h.merge(op, end-tail, make([]byte, tail))
		end -= tail
	}
	if end > inner {
		op.parts++
		h.writeParts(op, inner, end-inner, nil)
	}
	h.partDone(op, wire.OK)
}

// writeParts writes whole blocks, one part of the operation.
func (h *Head) writeParts(op *Op, offset, length uint64, data []byte) {
	if h.needsSpace(offset, length, data) {
		h.reserve(op, offset, length, func() { h.sendParts(op, offset, length, data) })
		return
	}
	h.sendParts(op, offset, length, data)
}

func (h *Head) sendParts(op *Op, offset, length uint64, data []byte) {
	op.sequenced = true
	for p := range h.pieces(offset, length) {
		var d []byte
		if data != nil {
			d = data[p.at:][:uint64(p.count)*wire.BlockSize]
		}
		op.parts++
		h.store(p.seg, p.block, p.count, d, op, nil)
	}
	h.partDone(op, wire.OK)
}

func (h *Head) partDone(op *Op, s wire.Status) {
	if op.parts <= 0 {
		panic(fmt.Sprintf("mirror: operation of kind %d at %d+%d of volume %d has %d parts left, and another one ends", op.Kind, op.Offset, op.Length,
			h.volume, op.parts))
	}
	if s != wire.OK && !op.answered {
		op.Status = s
	}
	if op.parts--; op.parts == 0 {
		h.conclude(op, op.Status)
	} else if op.heldParts > 0 {
		h.answerEarly(op)
	}
}

// needsSpace says whether a copy that a write goes to is short of space.
func (h *Head) needsSpace(offset, length uint64, data []byte) bool {
	if data == nil {
		return false
	}
	for p := range h.pieces(offset, length) {
		for _, n := range h.mustAck(p.seg) {
			if h.peer(n).low {
				return true
			}
		}
	}
	return false
}

// reserve makes sure that every copy has space before the write is sequenced,
// so that a full disk refuses it on all copies alike.
func (h *Head) reserve(op *Op, offset, length uint64, then func()) {
	left, worst := 1, wire.OK
	end := func(s wire.Status) {
		if s != wire.OK {
			worst = s
		}
		if left--; left > 0 {
			return
		}
		switch {
		case op.answered:
			h.partDone(op, wire.Aborted)
		case worst == wire.NoSpace:
			h.partDone(op, wire.NoSpace)
		default:
			then()
		}
	}
	for p := range h.pieces(offset, length) {
		for _, n := range h.mustAck(p.seg) {
			left++
			h.call(n, func(req uint64) wire.Message {
				return &wire.Reserve{Req: req, Volume: h.volume, Segment: p.seg.index, Epoch: h.epoch, Block: p.block, Count: p.count}
			}, func(m wire.Message) {
				a := m.(*wire.Ack)
				h.peer(n).low = a.Low
				end(a.Status)
			}, func() { end(wire.OK) })
		}
	}
	end(wire.OK)
}

// startCompare is COMPARE AND WRITE: read, compare, write under one lock. A
// portal's second sending of what was carried out has its answer in the claim. A
// host's repetition writes the same data again, which takes the first one's claim
// over to it: so that is used up on every copy before the host hears of it.
func (h *Head) startCompare(op *Op) {
	if s, known := h.executed(op); known {
		h.conclude(op, s)
		return
	}
	op.key = keyOf(op)
	want, data := op.Data[:op.Length], op.Data[op.Length:]
	h.gather(op, op.Offset, op.Length, func(blocks []byte, s wire.Status) {
		if s == wire.OK {
			s = h.compare(op, want, blocks[op.Offset%wire.BlockSize:])
		}
		if s == wire.Miscompare {
			s = h.repeats(op)
		}
		if s != wire.OK || op.answered {
			h.conclude(op, s)
			return
		}
		copy(blocks[op.Offset%wire.BlockSize:], data)
		op.parts = 1
		h.writeParts(op, op.Offset/wire.BlockSize*wire.BlockSize, uint64(len(blocks)), blocks)
	})
}

// startExtents asks a copy which blocks hold data.
func (h *Head) startExtents(op *Op) {
	p := h.piece(op.Offset/wire.BlockSize, op.Offset/wire.BlockSize)
	count := min(uint64(h.segBlocks)-uint64(p.block), (op.Offset%wire.BlockSize+op.Length+wire.BlockSize-1)/wire.BlockSize)
	f := &fetch{seg: p.seg}
	n, ok := h.source(f)
	if !ok {
		h.later(func() {
			if op.answered {
				h.unlock(op)
			} else {
				h.startExtents(op)
			}
		})
		return
	}
	again := func() {
		h.later(func() {
			if op.answered {
				h.unlock(op)
			} else {
				h.startExtents(op)
			}
		})
	}
	h.call(n, func(req uint64) wire.Message {
		return &wire.Extents{Req: req, Volume: h.volume, Segment: p.seg.index, Epoch: h.epoch, Block: p.block, Count: uint32(count)}
	}, func(m wire.Message) {
		r := m.(*wire.Runs)
		if r.Status != wire.OK {
			again()
			return
		}
		op.Runs = r.Runs
		h.conclude(op, wire.OK)
	}, again)
}
