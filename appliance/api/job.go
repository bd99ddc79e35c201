package api

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"ashlar/node"
	"ashlar/node/cluster"
	"ashlar/node/engine"
	"ashlar/replication/wire"

	"github.com/danielgtaylor/huma/v2"
)

// Job is work on a whole volume, that outlives whoever ordered it and any node.
type Job struct {
	ID       uint64        `json:"id" doc:"Never another one's"`
	Kind     string        `json:"kind" enum:"verify,repair"`
	Volume   string        `json:"volume" doc:"Its name, also where it was deleted"`
	State    string        `json:"state" enum:"running,done,failed,cancelled"`
	Percent  int           `json:"percent" minimum:"0" maximum:"100" doc:"How far it is, or was when it ended; 100: done"`
	Segments int           `json:"segments" doc:"Done so far"`
	All      int           `json:"all" doc:"Segments that the volume has"`
	Node     string        `json:"node,omitempty" doc:"Which carries it out: the volume's head; none: it has ended, or waits for a head"`
	By       string        `json:"by,omitempty" doc:"Who ordered it; not for tenants"`
	Since    time.Time     `json:"since" doc:"When it was ordered"`
	Ended    *time.Time    `json:"ended,omitempty"`
	Problem  string        `json:"problem,omitempty" doc:"Why it failed, a sentence"`
	Result   *Verification `json:"result,omitempty" doc:"What it found, once it is done"`
}

// numbered is a job's number in a path.
type numbered struct {
	ID uint64 `path:"id"`
}

func (s server) jobs(a huma.API) {
	get(a, "/jobs", "list-jobs", "Jobs that go on, and the latest 50 that have ended", func(_ context.Context, _ *nothing) ([]Job, error) {
		return view(s.node, jobViews)
	})
	get(a, "/jobs/{id}", "get-job", "One job, how far it is, and what it found", func(_ context.Context, in *numbered) (Job, error) {
		return s.job(in.ID)
	})
	order(a, http.MethodDelete, "/jobs/{id}", "cancel-job", "End a job where it is", orderTimeout,
		func(ctx context.Context, in *numbered) error { return s.node.CancelJob(ctx, in.ID) })
	s.verifyVolume(a)
	get(a, "/volumes/{name}/verify", "verifying", "How far a comparison of a volume's copies is", func(_ context.Context, in *named) (Progress, error) {
		return s.verifying(in.Name)
	})
}

// verified is the answer to an order to verify: a Verification, or who does not wait gets the Job.
type verified struct {
	Status int
	Body   any
}

// verifyVolume registers the one order that answers in two ways.
func (s server) verifyVolume(a huma.API) {
	const id, path = "verify-volume", "/v1/volumes/{name}/verify"
	described := func(text string, t reflect.Type) *huma.Response {
		return &huma.Response{Description: text, Content: map[string]*huma.MediaType{"application/json": {Schema: a.OpenAPI().Components.Schemas.Schema(t, true, "")}}}
	}
	huma.Register(a, huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: path, Summary: "Compare all copies of a volume, block by block", MaxBodyBytes: 64 << 10, BodyReadTimeout: noDeadline,
		Description: "It is a job, which goes on when nobody waits for it any more. Where one of that kind goes on already, it is that one.",
		Parameters:  parameters(http.MethodPost),
		Responses:   map[string]*huma.Response{"200": described("OK", reflect.TypeFor[Verification]())},
	}, func(ctx context.Context, in *struct {
		Name string       `path:"name" maxLength:"64"`
		Wait string       `query:"wait" enum:"true,false" default:"true" doc:"Answer when it has ended, with what it found; else at once, with the job"`
		Body *VerifyOrder `required:"false"`
	}) (*verified, error) {
		ctx, cancel := context.WithTimeout(ctx, 24*time.Hour)
		defer cancel()
		kind := cluster.VerifyJob
		if in.Body != nil && in.Body.Repair {
			kind = cluster.RepairJob
		}
		do := func(ctx context.Context) (any, error) {
			job, err := s.node.StartJob(ctx, kind, in.Name, whoAsks(ctx))
			switch {
			case err != nil:
				return nil, err
			case in.Wait == "false":
				return s.job(job)
			}
			j, err := s.node.WaitJob(ctx, job)
			if err != nil {
				return nil, err
			}
			return *verification(j), nil
		}
		if _, err := planned(ctx, id, do); err != nil {
			return nil, answer(err)
		}
		out, err := once(ctx, id, in, true, do)
		if err != nil {
			return nil, answer(err)
		}
		if _, goesOn := out.(Job); goesOn {
			return &verified{http.StatusAccepted, out}, nil
		}
		return &verified{http.StatusOK, out}, nil
	})
	a.OpenAPI().Paths[path].Post.Responses["202"] = described("The job goes on", reflect.TypeFor[Job]()) // only now: else huma describes no errors
}

// whoAsks is the name of the token, or of the user who opened the socket.
func whoAsks(ctx context.Context) string {
	if r := requestOf(ctx); r != nil {
		return r.caller.name
	}
	return ""
}

func (s server) verifying(volume string) (Progress, error) {
	state, err := s.node.State()
	if err != nil {
		return Progress{}, err
	}
	for _, j := range state.Running() {
		if j.Name == volume {
			return Progress{int(j.Segment), j.Segments}, nil
		}
	}
	return Progress{}, nil
}

func (s server) job(id uint64) (Job, error) {
	j, err := s.node.Job(id)
	if err != nil {
		return Job{}, err
	}
	state, err := s.node.State()
	return jobView(state, j), err
}

// jobViews are all jobs, the latest first.
func jobViews(_ *node.Node, s *cluster.State) []Job {
	out := []Job{}
	for _, j := range s.Jobs {
		out = append(out, jobView(s, j))
	}
	slices.SortFunc(out, func(a, b Job) int { return cmp.Compare(b.ID, a.ID) })
	return out
}

func jobView(s *cluster.State, j *cluster.Job) Job {
	out := Job{ID: j.ID, Kind: string(j.Kind), Volume: j.Name, State: string(j.End), Segments: int(j.Segment), All: j.Segments, By: j.By,
		Since: time.UnixMilli(j.Began).UTC(), Ended: stamp(j.Ended), Problem: j.Problem}
	blocks := s.SegmentBytes / wire.BlockSize
	if all := uint64(j.Segments) * blocks; all > 0 {
		out.Percent = int(min(99, 100*(uint64(j.Segment)*blocks+uint64(j.Block))/all))
	}
	switch j.End {
	case "":
		out.State = "running"
		if n := s.Nodes[s.Volumes[j.Volume].Head]; n != nil {
			out.Node = n.Name
		}
	case cluster.JobDone:
		out.Percent, out.Result = 100, verification(j)
	}
	return out
}

// verification is what a job found that is done.
func verification(j *cluster.Job) *Verification {
	v := engine.VerificationOf(j)
	out := &Verification{Volume: j.Name, Equal: v.Equal(), Copies: v.Copies, Blocks: v.Blocks, Differing: v.Counts.Differing,
		Repaired: v.Counts.Mended, Skipped: v.Counts.Skipped, Seconds: v.Took.Seconds(), Differences: texts(v.Differences), Repairs: texts(v.Repaired)}
	if v.Root != nil {
		out.Root = hex.EncodeToString(v.Root[:])
	}
	return out
}

// StartVerify has all copies of a volume compared, and does not wait for it.
func (c *Client) StartVerify(ctx context.Context, volume string, in VerifyOrder) (Job, error) {
	return ask[Job](ctx, c, "POST", "/volumes/"+url.PathEscape(volume)+"/verify?wait=false", in)
}

// Jobs are those that go on, and the latest that have ended; the latest first.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	return ask[[]Job](ctx, c, "GET", "/jobs", nil)
}

// Job is one.
func (c *Client) Job(ctx context.Context, id uint64) (Job, error) {
	return ask[Job](ctx, c, "GET", "/jobs/"+strconv.FormatUint(id, 10), nil)
}

// CancelJob ends one where it is.
func (c *Client) CancelJob(ctx context.Context, id uint64) error {
	return c.do(ctx, "DELETE", fmt.Sprintf("/jobs/%d", id), nil, nil)
}
