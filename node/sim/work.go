package sim

import "ashlar/replication/wire"

// work starts what hosts do: on each volume so many operations at a time.
func (w *world) work(depth int) {
	for _, h := range w.hosts {
		for v := range w.volumes {
			for range 1 + w.rng.IntN(depth) {
				h.worker(wire.VolumeID(v+1), false)
			}
			if w.chance(0.5) {
				h.worker(wire.VolumeID(v+1), true)
			}
			if w.chance(0.3) {
				h.resets(wire.VolumeID(v + 1))
			}
		}
	}
}

// worker does one operation after the other. A reader is not held up by writes
// that cannot be done, so it still asks a head that can do nothing else.
func (h *host) worker(v wire.VolumeID, reader bool) {
	w := h.w
	w.after(w.between(5*millisecond, 200*millisecond), func() {
		if !w.working {
			return
		}
		op := h.draw(v, reader)
		op.then = func() { h.worker(v, reader) }
		h.start(op)
		if op.kind == wire.OpCompareAndWrite && w.chance(0.4) {
			h.startTwin(op)
		}
	})
}

func (h *host) start(op *operation) {
	w := h.w
	op.h, op.id = h, len(w.operations)+1
	w.operations = append(w.operations, op)
	op.begin()
}

// startTwin has another process of the host ask for the same.
func (h *host) startTwin(op *operation) {
	twin := &operation{volume: op.volume, kind: op.kind, offset: op.offset, length: op.length, tag: op.tag, expected: op.expected,
		twin: op, second: true, then: func() {}}
	op.twin = twin
	h.start(twin)
}

// draw makes up an operation; most meet on a few blocks at segments' borders.
func (h *host) draw(v wire.VolumeID, reader bool) *operation {
	w := h.w
	blocks := w.volumes[v-1].segments * segmentBlocks
	hot := []int{0, segmentBlocks - 1, segmentBlocks, 3}
	b := hot[w.rng.IntN(len(hot))]
	if w.chance(0.2) {
		b = w.rng.IntN(blocks - 4)
	}
	start := uint64(b) * sectors
	op := &operation{volume: v}
	w.lastTag++
	op.tag = w.lastTag
	at := func(kind wire.OpKind, first, count uint64) {
		op.kind, op.offset, op.length = kind, first*sector, count*sector
	}
	n := w.rng.IntN(100)
	if reader {
		n = 35 // reads only
	}
	switch {
	case n < 35:
		at(wire.OpWrite, start, sectors)
	case n < 62:
		at(wire.OpRead, start, sectors*uint64(1+w.rng.IntN(3)))
	case n < 70:
		at(wire.OpWrite, start+1, 1)
	case n < 76:
		at(wire.OpWrite, start+6, 4) // the end of a block and the beginning of the next
	case n < 84:
		at(wire.OpWrite, start, sectors*uint64(2+w.rng.IntN(2)))
	case n < 88:
		at(wire.OpZero, start, sectors*uint64(1+w.rng.IntN(2)))
		op.tag = 0
	case n < 91:
		at(wire.OpZero, start+6, 2*sectors+4) // two edges and whole blocks
		op.tag = 0
	default:
		at(wire.OpCompareAndWrite, start+1, 1)
		op.expected = h.known[cell{v, start + 1}]
	}
	return op
}
