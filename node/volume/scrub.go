package volume

import (
	"context"
	"errors"

	"ashlar/replication/mirror"
)

// ErrNotHead says that this node is not a volume's head.
var ErrNotHead = errors.New("volume: this node is not the volume's head")

// Scrub has the head here compare a range of its copies. What comes of it is of one
// reign: it is broken off when that ends.
func (v *Volume) Scrub(ctx context.Context, r mirror.Range) (mirror.Scrubbed, error) {
	out := make(chan mirror.Scrubbed, 1)
	v.run(func() {
		if v.head == nil || v.head.Deposed() || v.gone {
			close(out)
			return
		}
		now := v.now
		v.head.Lease(now, v.node.Lease())
		v.head.Scrub(now, r, func(x mirror.Scrubbed) { out <- x })
	})
	select {
	case x, ok := <-out:
		if !ok {
			return x, ErrNotHead
		}
		return x, nil
	case <-v.stopped:
		return mirror.Scrubbed{}, ErrNotHead
	case <-ctx.Done():
		return mirror.Scrubbed{}, ctx.Err()
	}
}
