package mirror

import "slices"

// spare is memory of things that are needed for each of a host's operations, and given back when nothing refers to them
// any more. What is given back before a Take is had again after the next one: until then the actions that were taken may refer to it.
type spare[T any] struct {
	free, given, taken []*T
}

// get is a zero T.
func (s *spare[T]) get() *T {
	n := len(s.free) - 1
	if n < 0 {
		return new(T)
	}
	x := s.free[n]
	s.free = s.free[:n]
	return x
}

// give takes x, which is not to be touched any more when the event ends that is handled.
func (s *spare[T]) give(x *T) { s.given = append(s.given, x) }

// turn is a Take.
func (s *spare[T]) turn() {
	for _, x := range s.taken {
		var zero T
		*x = zero
		if len(s.free) < spareMax {
			s.free = append(s.free, x)
		}
	}
	s.given, s.taken = s.taken[:0], s.given
}

// spareMax bounds what is kept.
const spareMax = 1024

// sweepAfter is how many operations may be answered, and not forgotten.
const sweepAfter = 64

// sweep forgets what is answered.
func (h *Head) sweep() {
	h.order = slices.DeleteFunc(h.order, func(op *Op) bool {
		if op.answered && (op.spent() || h.bugs.SpentEarly) {
			h.swept = append(h.swept, op)
		}
		return op.answered
	})
}
