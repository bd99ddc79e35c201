package volume

import (
	"slices"

	"ashlar/replication/mirror"
	"ashlar/replication/wire"
	"ashlar/target"
)

// Info is target.Device's.
func (v *Volume) Info() target.Info { return *v.info.Load() }

// Groups is target.Device's: one port group a node, its number the node's.
func (v *Volume) Groups() ([]target.PortGroup, uint16) {
	return v.place.Load().groups, uint16(v.self)
}

// Stamp is target.Device's.
func (v *Volume) Stamp() target.Stamp {
	p := v.place.Load()
	return target.Stamp{Epoch: p.epoch, Token: v.node.Token(p.head), Read: v.node.Now()}
}

// Watch is target.Device's.
func (v *Volume) Watch(listener func(target.Event)) (cancel func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lastKey++
	key := v.lastKey
	v.listeners[key] = listener
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.listeners, key)
	}
}

var kinds = [...]wire.OpKind{
	target.Read: wire.OpRead, target.Write: wire.OpWrite, target.Zero: wire.OpZero, target.Unmap: wire.OpUnmap,
	target.CompareAndWrite: wire.OpCompareAndWrite, target.Verify: wire.OpVerify, target.Flush: wire.OpFlush,
	target.LBAStatus: wire.OpExtents, target.Reserve: wire.OpReserve,
}

// Submit is target.Device's.
func (v *Volume) Submit(op *target.Op) {
	info := v.info.Load()
	if op.LBA > info.Blocks || uint64(op.Blocks) > info.Blocks-op.LBA {
		op.Status = target.OutOfRange
		op.Done(op)
		return
	}
	empty := op.Blocks == 0
	if op.Kind == target.LBAStatus {
		empty = op.LBA == info.Blocks
	}
	if empty && op.Kind != target.Flush && op.Kind != target.Reserve {
		op.Status = target.OK
		op.Done(op)
		return
	}
	if !v.doOpen(event{kind: evSubmit, op: op}) {
		op.Status = target.Gone
		op.Done(op)
	}
}

// requestOf is the portal's, of an operation. Data is copied where it is not lent, because a copy may still be sent it
// when the host has long been answered Busy. So it is with a write cache, with which that is so of each write.
func (v *Volume) requestOf(op *target.Op) *mirror.Request {
	info := v.info.Load()
	length := uint64(op.Blocks) * uint64(info.BlockSize)
	if op.Kind == target.LBAStatus {
		length = min((info.Blocks-op.LBA)*uint64(info.BlockSize), 1<<30)
	}
	r := v.portal.NewRequest()
	r.Kind, r.Nexus, r.Stamp, r.Read = kinds[op.Kind], nexus(op.Nexus), wire.Stamp{Epoch: op.Stamp.Epoch, Token: op.Stamp.Token}, op.Stamp.Read
	r.Offset, r.Length, r.FUA, r.Private = op.LBA*uint64(info.BlockSize), length, op.FUA, op
	r.Cached, r.Losses = v.agreed.WriteCache, v.knownLosses(r.Nexus)
	switch op.Kind {
	case target.Read:
		if lends(op, info) {
			r.Into = op.Data
		}
	case target.Write, target.CompareAndWrite, target.Verify:
		if r.Data = op.Data; !lends(op, info) {
			r.Data = slices.Clone(op.Data)
		}
	case target.Reserve:
		r.Data = encode(v.reserveAsk(op.Request))
	}
	return r
}

// lends says whether an operation's data is used where it is.
func lends(op *target.Op, info *target.Info) bool {
	return op.Lends && (op.Kind == target.Read || op.Kind == target.Write && !info.WriteCache)
}

func nexus(n target.Nexus) wire.Nexus {
	return wire.Nexus{Host: n.Host, Port: n.Port, Generation: n.Generation}
}

// statuses is the one table from the wire to front ends.
var statuses = map[wire.Status]target.Status{
	wire.OK: target.OK, wire.Busy: target.Busy, wire.Window: target.Full, wire.Aborted: target.Aborted, wire.OutOfRange: target.OutOfRange,
	wire.Miscompare: target.Miscompare, wire.NoSpace: target.NoSpace, wire.MediumError: target.MediumError,
	wire.Conflict: target.Conflict, wire.CacheLost: target.CacheLost,
}

// answer gives a host's operation back to its front end.
func (v *Volume) answer(r *mirror.Request) {
	op := r.Private.(*target.Op)
	s, known := statuses[r.Status]
	if !known {
		s = target.Busy
	}
	if v.gone {
		s = target.Gone
	}
	op.Status, op.Offset, op.Settle = s, r.Miss, nil
	op.Kept = r.Lent && lends(op, v.info.Load())
	if claim := r.Claim; claim != 0 {
		op.Settle = func(acknowledged bool) {
			v.postOpen(event{kind: evRun, run: func() { v.portal.Settle(v.now, claim, acknowledged) }})
		}
	}
	if s == target.OK {
		switch op.Kind {
		case target.Read:
			if op.Kept {
				op.Data = r.Data
			} else if len(r.Data) > 0 && &r.Data[0] != &op.Data[0] {
				copy(op.Data, r.Data)
			}
		case target.LBAStatus:
			v.extentsOf(op, r)
		case target.Reserve:
			v.reservedBy(op, r)
		}
	}
	v.count(op)
	op.Done(op)
	v.portal.Release(r)
}

// refuse ends an operation that no machine has seen, because the volume is gone.
func (v *Volume) refuse(op *target.Op) {
	op.Status = target.Gone
	v.count(op)
	op.Done(op)
}

// extentsOf turns runs of 4 KiB blocks into extents that begin at the operation's LBA.
func (v *Volume) extentsOf(op *target.Op, r *mirror.Request) {
	per := uint64(wire.BlockSize / v.info.Load().BlockSize)
	lba, mapped := op.LBA/per*per, true
	for _, n := range r.Runs {
		end := min(lba+uint64(n)*per, v.info.Load().Blocks)
		if start := max(lba, op.LBA); end > start && len(op.Extents) < cap(op.Extents) {
			op.Extents = append(op.Extents, target.Extent{LBA: start, Blocks: end - start, Mapped: mapped})
		}
		lba, mapped = end, !mapped
	}
}

var _ target.Device = (*Volume)(nil)
