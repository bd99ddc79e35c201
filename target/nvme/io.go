package nvme

import (
	"ashlar/target"
	"ashlar/target/reserve"
)

// ioCommands are by opcode.
var ioCommands map[Opcode]*command

func init() {
	ioCommands = map[Opcode]*command{
		Flush:               {name: "Flush", run: flush},
		Write:               {name: "Write", direction: FromHost, size: blocksSize, run: write, effects: changesBlocks, space: true, ranged: true},
		Read:                {name: "Read", direction: ToHost, size: blocksSize, run: read, space: true, ranged: true},
		Compare:             {name: "Compare", direction: FromHost, size: blocksSize, run: compare, space: true, ranged: true},
		WriteZeroes:         {name: "Write Zeroes", run: writeZeroes, effects: changesBlocks, space: true, ranged: true},
		DatasetManagement:   {name: "Dataset Management", direction: FromHost, size: rangesSize, run: datasetManagement, effects: changesBlocks, space: true, access: reserve.Writes},
		Verify:              {name: "Verify", run: verify, space: true, ranged: true},
		ReservationRegister: {name: "Reservation Register", direction: FromHost, size: fixed(16), run: reservationRegister, space: true},
		ReservationReport:   {name: "Reservation Report", direction: ToHost, size: reportSize, run: reservationReport, space: true},
		ReservationAcquire:  {name: "Reservation Acquire", direction: FromHost, size: fixed(16), run: reservationAcquire, space: true},
		ReservationRelease:  {name: "Reservation Release", direction: FromHost, size: fixed(8), run: reservationRelease, space: true},
		Copy:                {name: "Copy", direction: FromHost, size: copySize, run: copyBlocks, effects: changesBlocks, space: true, access: reserve.Writes},
	}
}

// blocksSize is the data of a command that has a range.
func blocksSize(c *Controller, cmd *Command) (uint32, Status) {
	n := c.subsystem.namespace(cmd.NSID())
	if n == nil {
		return 0, InvalidNamespace | DoNotRetry
	}
	size := uint64(cmd.Blocks()) * uint64(n.device.Info().BlockSize)
	if size > MaxTransfer {
		return 0, InvalidField | DoNotRetry
	}
	return uint32(size), Success
}

func read(r *Request)  { r.lend(target.Read, haveRead) }
func write(r *Request) { r.lend(target.Write, (*Request).ok) }

func haveRead(r *Request) {
	r.Data = r.Op.Data
	r.ok()
}

// compare is Compare: of the host's data with what is there.
func compare(r *Request) { r.whole(target.Verify, r.Data, (*Request).ok) }

// lend is whole with the carrier's memory, which is the device's where the operation ends Kept.
func (r *Request) lend(kind target.Kind, then func(*Request)) {
	r.Op.Lends = true
	r.whole(kind, r.Data, then)
}

// verify is Verify: what is there can be read.
func verify(r *Request) { r.pieces(target.Verify) }

// writeZeroes is Write Zeroes; with DEAC the space is given back as well.
func writeZeroes(r *Request) {
	const deallocate = 1 << 25
	kind := target.Zero
	if r.Command.DW(12)&deallocate != 0 {
		kind = target.Unmap
	}
	r.pieces(kind)
}

// whole is a command of one operation on its range.
func (r *Request) whole(kind target.Kind, data []byte, then func(*Request)) {
	r.submit(kind, r.Command.SLBA(), uint64(r.Command.Blocks()), data, then)
}

// pieces is a command of operations without data on its range, one after another.
func (r *Request) pieces(kind target.Kind) {
	r.chain = chain{kind: kind, extents: []extent{{r.Command.SLBA(), uint64(r.Command.Blocks())}}}
	nextPiece(r)
}

// flush is Flush, of one namespace or of all. Everything acknowledged before is on
// stable storage.
func flush(r *Request) {
	nsid := r.Command.NSID()
	all := r.controller.subsystem.namespaces.Load().ordered
	if nsid != allNamespaces {
		n := r.controller.subsystem.namespace(nsid)
		if n == nil {
			r.fail(InvalidNamespace)
			return
		}
		all = []*namespace{n}
	}
	r.chain = chain{spaces: all}
	flushNext(r)
}

func flushNext(r *Request) {
	if len(r.chain.spaces) == 0 {
		r.ok()
		return
	}
	r.space, r.chain.spaces = r.chain.spaces[0], r.chain.spaces[1:]
	r.submitTo(target.Flush, 0, 0, nil, r.laterStamp(), flushNext)
}

// laterStamp is a stamp for an operation after a command's first: what it was read
// with is old by then, when it was read is not changed.
func (r *Request) laterStamp() target.Stamp {
	stamp := r.space.device.Stamp()
	stamp.Read = r.Stamp.Read
	return stamp
}

// FusedDemand says whether two adjacent commands of a queue are a fused compare and
// write; unless the status is Success, both fail with it.
func (c *Controller) FusedDemand(first, second *Command) Status {
	switch {
	case first.Opcode() != Compare || second.Opcode() != Write,
		first.NSID() != second.NSID(), first.SLBA() != second.SLBA(), first.Blocks() != second.Blocks():
		return InvalidField | DoNotRetry
	case first.Blocks() > MaxCompareAndWrite:
		return InvalidField | DoNotRetry
	}
	return Success
}

// ExecuteFused runs a compare and write whose data has been collected. The first
// request's buffer has room for the second's data behind its own. Done is called
// for the first, then for the second.
func (c *Controller) ExecuteFused(first, second *Request) {
	first.second = second
	if _, ok := c.begin(first); !ok {
		return
	}
	n := len(first.Data)
	both := first.Data[:n+copy(first.Data[n:2*n], second.Data)]
	if second.Command.DW(12)&forceUnitAccess != 0 {
		le.PutUint32(first.Command[48:], first.Command.DW(12)|forceUnitAccess)
	}
	first.submit(target.CompareAndWrite, first.Command.SLBA(), uint64(first.Command.Blocks()), both, (*Request).ok)
}
