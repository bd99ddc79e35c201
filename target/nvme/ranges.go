package nvme

import (
	"sync/atomic"

	"ashlar/target"
)

// chain is where a command of several operations has got to.
type chain struct {
	kind    target.Kind
	extents []extent     // not yet done
	spaces  []*namespace // Flush: not yet done
	to      uint64       // Copy: the next block to write
	buffer  []byte       // Copy
	begun   bool
}

// extent is a run of logical blocks.
type extent struct{ lba, blocks uint64 }

const (
	pieceBytes     = 64 << 20 // one Unmap, Zero or Verify operation of a chain
	maxUnmapBlocks = 1 << 20  // of a Dataset Management, over all ranges

	copyRangeBytes = 1 << 20  // MSSRL
	copyBytes      = 16 << 20 // MCL
	copyRanges     = 128      // MSRC
	copyPiece      = 256 << 10
	copiesMax      = 32 // under way in this process: each has a buffer of copyPiece
)

// nextPiece sends the next operation of a chain without data.
func nextPiece(r *Request) {
	c := &r.chain
	for len(c.extents) > 0 && c.extents[0].blocks == 0 {
		c.extents = c.extents[1:]
	}
	if len(c.extents) == 0 {
		r.ok()
		return
	}
	e := &c.extents[0]
	n := min(e.blocks, pieceBytes/uint64(r.space.device.Info().BlockSize))
	lba := e.lba
	e.lba, e.blocks = e.lba+n, e.blocks-n
	r.submitTo(c.kind, lba, n, nil, r.chainStamp(), nextPiece)
}

// chainStamp is the stamp of a chain's next operation.
func (r *Request) chainStamp() target.Stamp {
	if !r.chain.begun {
		r.chain.begun = true
		return r.Stamp
	}
	return r.laterStamp()
}

func rangesSize(_ *Controller, cmd *Command) (uint32, Status) {
	return 16 * (cmd.DW(10)&0xFF + 1), Success
}

// datasetManagement is Dataset Management: the ranges are deallocated, which
// hosts find as zeros; what else it may tell is a hint, and is not taken.
func datasetManagement(r *Request) {
	const deallocate = 1 << 2
	if r.Command.DW(11)&deallocate == 0 {
		r.ok()
		return
	}
	total := uint64(0)
	for d := r.Data; len(d) >= 16; d = d[16:] {
		e := extent{le.Uint64(d[8:]), uint64(le.Uint32(d[4:]))}
		if !inRange(r.space, e.lba, e.blocks) {
			r.fail(LBAOutOfRange)
			return
		}
		total += e.blocks
		r.chain.extents = append(r.chain.extents, e)
	}
	if total > maxUnmapBlocks {
		r.fail(CommandSizeLimit)
		return
	}
	r.chain.kind = target.Unmap
	nextPiece(r)
}

// copyFormats are the sizes of a source range by descriptor format, bytes; where
// its SLBA and NLB are is the same in both.
var copyFormats = [...]uint32{32, 40}

func copySize(_ *Controller, cmd *Command) (uint32, Status) {
	format := cmd.DW(12) >> 8 & 15
	if int(format) >= len(copyFormats) {
		return 0, InvalidField | DoNotRetry
	}
	return copyFormats[format] * (cmd.DW(12)&0xFF + 1), Success
}

// copies counts the Copy commands under way.
var copies atomic.Int32

// copyBlocks is Copy: source ranges of the namespace, one after another, to one
// destination in it.
func copyBlocks(r *Request) {
	i := r.space.device.Info()
	size := uint64(i.BlockSize)
	total := uint64(0)
	step := int(copyFormats[r.Command.DW(12)>>8&15])
	for d := r.Data; len(d) >= step; d = d[step:] {
		e := extent{le.Uint64(d[8:]), uint64(le.Uint16(d[16:])) + 1}
		if e.blocks*size > copyRangeBytes {
			r.fail(CommandSizeLimit)
			return
		}
		if !inRange(r.space, e.lba, e.blocks) {
			r.fail(LBAOutOfRange)
			return
		}
		total += e.blocks
		r.chain.extents = append(r.chain.extents, e)
	}
	switch {
	case len(r.chain.extents) > copyRanges || total*size > copyBytes:
		r.fail(CommandSizeLimit)
		return
	case !inRange(r.space, r.Command.SLBA(), total):
		r.fail(LBAOutOfRange)
		return
	case copies.Add(1) > copiesMax:
		copies.Add(-1)
		r.finish(Interrupted | retryLater)
		return
	}
	r.chain.to = r.Command.SLBA()
	r.chain.buffer = make([]byte, copyPiece)
	done := r.Done
	r.Done = func(r *Request) {
		copies.Add(-1)
		done(r)
	}
	copyNext(r)
}

// copyNext reads the next piece.
func copyNext(r *Request) {
	c := &r.chain
	for len(c.extents) > 0 && c.extents[0].blocks == 0 {
		c.extents = c.extents[1:]
	}
	if len(c.extents) == 0 {
		r.ok()
		return
	}
	size := uint64(r.space.device.Info().BlockSize)
	n := min(c.extents[0].blocks, copyPiece/size)
	r.submitTo(target.Read, c.extents[0].lba, n, c.buffer[:n*size], r.chainStamp(), copyRead)
}

// copyRead writes what was read.
func copyRead(r *Request) {
	c := &r.chain
	n := uint64(r.Op.Blocks)
	to := c.to
	e := &c.extents[0]
	e.lba, e.blocks, c.to = e.lba+n, e.blocks-n, c.to+n
	size := uint64(r.space.device.Info().BlockSize)
	r.submitTo(target.Write, to, n, c.buffer[:n*size], r.chainStamp(), copyNext)
}
