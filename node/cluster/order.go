package cluster

import "slices"

// orderedMax bounds how many keys of orders are remembered: a client asks again within minutes.
const orderedMax = 512

// KeyReused refuses an order under the key of another one.
const KeyReused Code = "key-reused"

// Order is what a client calls an order that it may give again, through any node, because it saw no answer. The
// first of a key is carried out, and the others are told what came of it.
type Order struct {
	Key string
	Of  string // a digest of all that is asked for
}

// Ordered is an order under a key, and what it was told.
type Ordered struct {
	Order
	Result Result
}

// OrderOf is what came of the order with a key, nil if none is remembered.
func (s *State) OrderOf(key string) *Ordered {
	if i := slices.IndexFunc(s.Ordered, func(o Ordered) bool { return o.Key == key }); i >= 0 {
		return &s.Ordered[i]
	}
	return nil
}

// Repeats is what an order is told that has the key of this one.
func (o Ordered) Repeats(again Order) Result {
	if o.Of != again.Of {
		return problem(KeyReused, "the key %q was another order's", again.Key)
	}
	return o.Result
}

// keepOrder remembers what came of an order.
func (s *State) keepOrder(o Order, r Result) {
	all := s.Ordered
	if n := len(all) + 1 - orderedMax; n > 0 {
		all = all[n:]
	}
	s.Ordered = append(all[:len(all):len(all)], Ordered{o, r})
}
