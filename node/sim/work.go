package sim

import "ashlar/replication/wire"

// work starts what hosts do: on each volume some operations at a time.
func (w *world) work() {
	for _, h := range w.hosts {
		for v := range w.volumes {
			for range 1 + w.rng.IntN(w.shape.depth) {
				h.worker(wire.VolumeID(v+1), false)
			}
			if w.chance(0.5) {
				h.worker(wire.VolumeID(v+1), true)
			}
			if w.chance(w.shape.resets) {
				h.resets(wire.VolumeID(v + 1))
			}
		}
	}
}

// worker does one operation after the other. A reader is not held up by writes
// that cannot be done, so it still asks a head that can do nothing else.
func (h *host) worker(v wire.VolumeID, reader bool) {
	w := h.w
	w.after(5*millisecond+w.between(0, w.shape.idle), func() {
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

// menu is what hosts ask for, and how often in a hundred where nothing is preferred.
// An item gives its kind, its first sector from a block's on, and how many.
var menu = [...]struct {
	share int
	draw  func(w *world) (kind wire.OpKind, first, count uint64)
}{
	writeBlock: {35, func(*world) (wire.OpKind, uint64, uint64) { return wire.OpWrite, 0, sectors }},
	readBlocks: {27, func(w *world) (wire.OpKind, uint64, uint64) { return wire.OpRead, 0, sectors * uint64(1+w.rng.IntN(3)) }},
	{8, func(*world) (wire.OpKind, uint64, uint64) { return wire.OpWrite, 1, 1 }},
	{6, func(*world) (wire.OpKind, uint64, uint64) { return wire.OpWrite, 6, 4 }}, // the end of a block and the beginning of the next
	{8, func(w *world) (wire.OpKind, uint64, uint64) {
		return wire.OpWrite, 0, sectors * uint64(2+w.rng.IntN(2))
	}},
	{4, func(w *world) (wire.OpKind, uint64, uint64) { return wire.OpZero, 0, sectors * uint64(1+w.rng.IntN(2)) }},
	{3, func(*world) (wire.OpKind, uint64, uint64) { return wire.OpZero, 6, 2*sectors + 4 }}, // two edges and whole blocks
	{9, func(*world) (wire.OpKind, uint64, uint64) { return wire.OpCompareAndWrite, 1, 1 }},
}

const (
	writeBlock = 0
	readBlocks = 1
)

// draw makes up an operation; most meet on a few blocks at segments' borders.
func (h *host) draw(v wire.VolumeID, reader bool) *operation {
	w := h.w
	b := w.shape.hot[w.rng.IntN(len(w.shape.hot))]
	if w.chance(w.shape.stray) {
		b = w.rng.IntN(w.volumes[v-1].segments*segmentBlocks - 4)
	}
	item := menu[readBlocks]
	if !reader {
		item = menu[w.weighted(w.shape.mix)]
	}
	kind, first, count := item.draw(w)
	w.lastTag++
	op := &operation{volume: v, kind: kind, offset: (uint64(b)*sectors + first) * sector, length: count * sector, tag: w.lastTag}
	switch kind {
	case wire.OpZero:
		op.tag = 0
	case wire.OpCompareAndWrite:
		op.expected = h.known[cell{v, op.offset / sector}]
	}
	if w.volumes[v-1].cache {
		switch {
		case w.chance(0.15):
			op.kind, op.offset, op.length, op.tag = wire.OpFlush, 0, 0, 0
		case kind == wire.OpWrite || kind == wire.OpZero:
			op.fua = w.chance(0.2)
		}
	}
	return op
}

// weighted is a random index, each as often as its weight.
func (t *timeline) weighted(weights []int) int {
	sum := 0
	for _, n := range weights {
		sum += n
	}
	at := t.rng.IntN(sum)
	for i, n := range weights {
		if at -= n; at < 0 {
			return i
		}
	}
	panic("sim: no weights")
}
