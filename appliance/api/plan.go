package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"ashlar/node"
	"ashlar/node/cluster"
	"ashlar/replication/wire"

	"github.com/danielgtaylor/huma/v2"
)

// Plan is what an order would come to, if nothing else happened meanwhile.
type Plan struct {
	Refused  *Refusal   `json:"refused,omitempty" doc:"It would not be carried out"`
	Moves    []Move     `json:"moves" nullable:"false" doc:"Copies that would be made, and those whose places they would take"`
	Copies   int        `json:"copies" doc:"How many would be made, of segments"`
	Bytes    uint64     `json:"bytes" doc:"What these are of at most: volumes are thin"`
	Weakened []Weakened `json:"weakened" nullable:"false" doc:"Volumes that would have fewer copies in sync, or in fewer fault domains, until copies are made"`
	Heads    []HeadMove `json:"heads" nullable:"false" doc:"Volumes whose writes another node would order"`
	Hosts    []HostLoss `json:"hosts" nullable:"false" doc:"What hosts would lose"`
	Stuck    int        `json:"stuck" doc:"Copies that are to leave, and have no other place"`
	More     bool       `json:"more" doc:"More would move than was looked ahead"`
}

// Refusal is why an order would not be carried out.
type Refusal struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"`
}

// Move is copies that go from a disk to another, or are made anew.
type Move struct {
	Volume string `json:"volume"`
	From   Place  `json:"from" doc:"Empty where none was"`
	To     Place  `json:"to" doc:"Empty where none comes"`
	Copies int    `json:"copies"`
	Bytes  uint64 `json:"bytes"`
}

// Place is a disk.
type Place struct {
	Node string `json:"node,omitempty"`
	Disk string `json:"disk,omitempty" doc:"Its identity"`
}

// Weakened is a volume that would stand less than it does.
type Weakened struct {
	Volume  string `json:"volume"`
	Fewer   int    `json:"fewer" doc:"Segments with fewer copies in sync that can be used"`
	Doubled int    `json:"doubled" doc:"Segments with copies that come to share a fault domain"`
	Waiting int    `json:"waiting" doc:"Segments whose writes would wait"`
}

// HeadMove is a volume whose head would go to another node.
type HeadMove struct {
	Volume string `json:"volume"`
	From   string `json:"from"`
	To     string `json:"to"`
}

// HostLoss is what a host would lose.
type HostLoss struct {
	Host   string `json:"host"`
	Volume string `json:"volume"`
	Path   string `json:"path,omitempty" doc:"Node through which it would have no path any more; empty: the volume itself"`
}

// unplanned are orders that are not about what the cluster has agreed on.
var unplanned = []string{"create-cluster", "join-cluster", "release", "reset", "plan-adoption", "adopt", "add-disk", "verify-volume", "cancel-job"}

// dryRun describes that an order is only to be planned.
func dryRun() *huma.Param {
	return &huma.Param{Name: "dry_run", In: "query", Schema: &huma.Schema{Type: huma.TypeBoolean}, Description: "Tell what the order would come to, and change nothing: the answer is a plan"}
}

type plannedKey struct{}

// planning is middleware: it has orders planned that are to be.
func planning(ctx huma.Context, next func(huma.Context)) {
	if text := ctx.Query("dry_run"); text != "" && text != "false" && ctx.Operation().Method != http.MethodGet {
		ctx = huma.WithValue(ctx, plannedKey{}, text)
	}
	next(ctx)
}

// Error and GetStatus: a plan goes to the client in the way of a problem, since each order answers something else.
func (p *Plan) Error() string { return "a plan" }

// GetStatus is that of an answer.
func (p *Plan) GetStatus() int { return http.StatusOK }

// planned plans an order, if it is to be planned.
func planned[O any](ctx context.Context, id string, f func(context.Context) (O, error)) (plan *Plan, err error) {
	text, ok := ctx.Value(plannedKey{}).(string)
	switch {
	case !ok:
		return nil, nil
	case tenantOf(ctx) != "":
		return nil, &node.Problem{Code: forbidden, Text: "a plan tells of nodes and disks, which are not a tenant's", Next: "give the order without dry_run"}
	case text != "true":
		return nil, &node.Problem{Code: cluster.Invalid, Text: "dry_run is true or false, not " + text}
	case slices.Contains(unplanned, id):
		return nil, &node.Problem{Code: cluster.Invalid, Text: "this order cannot be planned", Next: "give it without dry_run"}
	}
	var p node.Plan
	_, err = f(node.WithPlan(ctx, &p))
	var refused *node.Problem
	out := &Plan{Moves: []Move{}, Weakened: []Weakened{}, Heads: []HeadMove{}, Hosts: []HostLoss{}}
	switch {
	case errors.As(err, &refused) && (p.Foreseen != nil || refused.Code != node.NotReady):
		out.Refused = &Refusal{string(refused.Code), refused.Text, refused.Next}
		return out, nil
	case err != nil && !errors.Is(err, node.ErrPlanned):
		return nil, err
	}
	if p.Foreseen != nil {
		out.More = !p.Foreseen.Whole
		out.compare(p.Foreseen.Before, p.Foreseen.Next, p.Foreseen.After)
	}
	return out, nil
}

func (p *Plan) compare(before, next, after *cluster.State) {
	for _, id := range after.VolumeIDs() {
		v := after.Volumes[id]
		old := before.Volumes[id]
		if old == nil {
			old = &cluster.Volume{}
		}
		p.moves(before, after, old, v)
		if old.Head != 0 && v.Head != old.Head {
			p.Heads = append(p.Heads, HeadMove{v.Name, nodeName(before, old.Head), nodeName(after, v.Head)})
		}
		if now := next.Volumes[id]; now != nil {
			p.weakened(before, next, old, now)
		}
	}
	for _, id := range before.VolumeIDs() {
		p.hosts(before, after, before.Volumes[id])
	}
	for _, e := range emptying(nil, after) {
		p.Stuck += e.Stuck
	}
}

func (p *Plan) moves(before, after *cluster.State, old, now *cluster.Volume) {
	at := map[[2]Place]int{}
	for i, g := range now.Segments {
		var was cluster.Segment
		if i < len(old.Segments) {
			was = old.Segments[i]
		}
		var gone []Place
		for _, r := range was.Replicas {
			if g.OnDisk(r.Disk) == nil {
				gone = append(gone, Place{nodeName(before, r.Node), string(r.Disk)})
			}
		}
		for _, r := range g.Replicas {
			if was.OnDisk(r.Disk) != nil {
				continue
			}
			way := [2]Place{{}, {nodeName(after, r.Node), string(r.Disk)}}
			if len(gone) > 0 {
				way[0], gone = gone[0], gone[1:]
			}
			k, ok := at[way]
			if !ok {
				k = len(p.Moves)
				at[way] = k
				p.Moves = append(p.Moves, Move{Volume: now.Name, From: way[0], To: way[1]})
			}
			bytes := min(after.SegmentBytes, now.Bytes-uint64(i)*after.SegmentBytes)
			p.Moves[k].Copies++
			p.Moves[k].Bytes += bytes
			p.Copies++
			p.Bytes += bytes
		}
	}
}

func (p *Plan) weakened(before, next *cluster.State, old, now *cluster.Volume) {
	w := Weakened{Volume: now.Name}
	for i := range min(len(old.Segments), len(now.Segments)) {
		a, b := before.OpenCopies(old.Segments[i], 0), next.OpenCopies(now.Segments[i], 0)
		if b < a {
			w.Fewer++
		}
		if least := max(1, now.MinInSync); b < least && a >= least {
			w.Waiting++
		}
		if next.Doubled(now.Segments[i]) != nil && before.Doubled(old.Segments[i]) == nil {
			w.Doubled++
		}
	}
	if w.Fewer+w.Doubled+w.Waiting > 0 {
		p.Weakened = append(p.Weakened, w)
	}
}

// hosts tells what hosts lose of a volume: itself, or a path.
func (p *Plan) hosts(before, after *cluster.State, old *cluster.Volume) {
	serves := func(s *cluster.State, id wire.NodeID) bool {
		n := s.Nodes[id]
		return n != nil && n.Up && !n.Drained && !n.Witness && !n.Expelled
	}
	now := after.Volumes[old.ID]
	for _, e := range old.Exports {
		if now == nil || !slices.ContainsFunc(now.Exports, func(x cluster.Export) bool { return x.Host == e.Host }) {
			p.Hosts = append(p.Hosts, HostLoss{Host: e.Host, Volume: old.Name})
			continue
		}
		for _, id := range before.NodeIDs() {
			if serves(before, id) && !serves(after, id) {
				p.Hosts = append(p.Hosts, HostLoss{Host: e.Host, Volume: old.Name, Path: nodeName(before, id)})
			}
		}
	}
}

// describePlans puts plans into the API's description, as what orders may answer.
func describePlans(a huma.API) {
	schema := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Plan](), true, "Plan")
	for _, path := range a.OpenAPI().Paths {
		for _, op := range []*huma.Operation{path.Post, path.Put, path.Patch, path.Delete} {
			if op == nil || slices.Contains(unplanned, op.OperationID) {
				continue
			}
			op.Parameters = append(op.Parameters, dryRun())
			answers := op.Responses["200"]
			if answers == nil {
				op.Responses["200"] = &huma.Response{Description: "What would be, with dry_run", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
				continue
			}
			media := answers.Content["application/json"]
			media.Schema = &huma.Schema{OneOf: []*huma.Schema{media.Schema, schema}}
		}
	}
}

// DryRuns is a client whose orders are only planned: what they answer is an error, which is a *Plan.
func (c *Client) DryRuns() *Client {
	d := *c
	d.dryRuns = true
	return &d
}

func dryRunOf(path string) string {
	if strings.Contains(path, "?") {
		return path + "&dry_run=true"
	}
	return path + "?dry_run=true"
}
