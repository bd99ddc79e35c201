package node

import (
	"context"
	"errors"

	"ashlar/node/cluster"
	"ashlar/node/failover"
)

// Plan is what an order would come to.
type Plan struct {
	Foreseen *failover.Foreseen // nil: there would be nothing to do
}

// ErrPlanned is what an order answers that was only to be planned.
var ErrPlanned = errors.New("node: the order was planned, and not given")

type planKey struct{}

// WithPlan has the order that is given with the context foreseen, and not carried out.
func WithPlan(ctx context.Context, p *Plan) context.Context {
	return context.WithValue(ctx, planKey{}, p)
}

func (p *Plan) plan(st *cluster.State, c cluster.Command) error {
	f := failover.Foresee(st, c)
	p.Foreseen = &f
	if r := f.Result; r.Problem != "" {
		return problem(r.Code, "%s", r.Problem)
	}
	return ErrPlanned
}
