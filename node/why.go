package node

import (
	"context"

	"ashlar/node/failover"
)

// Why says of each volume what slows it, if anything does, or of the one that is named.
func (n *Node) Why(ctx context.Context, volume string) ([]failover.Reasons, error) {
	s, err := n.member()
	if err != nil {
		return nil, err
	}
	e := s.engine.Load()
	if e == nil {
		return nil, problem(NotReady, "this node is still starting").next("ashlar status shows how it is")
	}
	if volume == "" {
		return e.Why(ctx), nil
	}
	v, err := n.volume(volume)
	if err != nil {
		return nil, err
	}
	for _, r := range e.Why(ctx) {
		if r.Volume == v.ID {
			return []failover.Reasons{r}, nil
		}
	}
	return nil, nil
}
