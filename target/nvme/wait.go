package nvme

import (
	"sync/atomic"

	"ashlar/target"
)

// wait collects what an end waits for: fences, and requests under way. It answers
// once: when all has come, or at the first that fails.
type wait struct {
	left     atomic.Int32
	answered atomic.Bool
	done     func(error)
}

func newWait(done func(error)) *wait {
	w := &wait{done: done}
	w.left.Store(1)
	return w
}

func (w *wait) add() { w.left.Add(1) }

// release takes off one of what is waited for.
func (w *wait) release(err error) {
	if err != nil && w.answered.CompareAndSwap(false, true) {
		w.done(err)
	}
	if w.left.Add(-1) == 0 && w.answered.CompareAndSwap(false, true) {
		w.done(nil)
	}
}

func (w *wait) fence(d target.Device, n target.Nexus) {
	w.add()
	d.Fence(target.FenceNexus, n, w.release)
}
