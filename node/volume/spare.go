package volume

// spare is memory that is needed for each operation, and given back when nothing refers to it any more. It is of whoever has the turn.
type spare[T any] []*T

// spareMax bounds what is kept.
const spareMax = 1024

func (s *spare[T]) get() *T {
	n := len(*s) - 1
	if n < 0 {
		return new(T)
	}
	x := (*s)[n]
	*s = (*s)[:n]
	return x
}

func (s *spare[T]) put(x *T) {
	if len(*s) < spareMax {
		*s = append(*s, x)
	}
}
