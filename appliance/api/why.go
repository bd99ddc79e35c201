package api

import (
	"context"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Why is what slows a volume, of the last minute.
type Why struct {
	Volume  string   `json:"volume"`
	Known   bool     `json:"known" doc:"Its head has told what its writes took"`
	Writes  int      `json:"writes" doc:"Of hosts, in the last minute"`
	P50     float64  `json:"p50_ms" doc:"Half of them took no longer, ms"`
	P99     float64  `json:"p99_ms" doc:"99 of 100 took no longer, ms"`
	Longest float64  `json:"longest_ms"`
	Reasons []Reason `json:"reasons" nullable:"false" doc:"Empty where nothing is slower than its peers"`
}

// Reason is one cause.
type Reason struct {
	Kind string `json:"kind" enum:"no-head,silent-node,slow-disk,silent-disk,failing-disk,failed-disk,slow-node,slow-link,slow-copy,demoted-copy,degraded,catching-up,window-full"`
	Node string `json:"node,omitempty"`
	Disk string `json:"disk,omitempty" doc:"Its ID"`
	Text string `json:"text" doc:"A sentence"`
}

func (s server) why(a huma.API) {
	get(a, "/why", "why", "What slows volumes", func(ctx context.Context, in *struct {
		Volume string `query:"volume" maxLength:"64" doc:"The one that is meant; empty: all"`
	}) ([]Why, error) {
		return s.reasons(ctx, in.Volume)
	})
}

func (s server) reasons(ctx context.Context, volume string) ([]Why, error) {
	found, err := s.node.Why(ctx, volume)
	if err != nil {
		return nil, err
	}
	state, err := s.node.State()
	if err != nil {
		return nil, err
	}
	all := []Why{}
	for _, r := range found {
		v := state.Volumes[r.Volume]
		if v == nil {
			continue // it was removed meanwhile
		}
		w := Why{Volume: v.Name, Known: r.Measured, Writes: r.Writes.Count, P50: ms(r.Writes.P50), P99: ms(r.Writes.P99), Longest: ms(r.Writes.Max), Reasons: []Reason{}}
		for _, x := range r.Reasons {
			reason := Reason{Kind: string(x.Kind), Disk: string(x.Disk), Text: x.Text}
			if n := state.Nodes[x.Node]; n != nil {
				reason.Node = n.Name
			}
			w.Reasons = append(w.Reasons, reason)
		}
		all = append(all, w)
	}
	return all, nil
}

func ms(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }

// Why says what slows a volume, or all of them where none is named.
func (c *Client) Why(ctx context.Context, volume string) ([]Why, error) {
	return ask[[]Why](ctx, c, "GET", "/why?volume="+url.QueryEscape(volume), nil)
}
