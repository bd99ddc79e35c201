package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ashlar/node"
	"ashlar/node/cluster"
	"ashlar/node/events"

	"github.com/danielgtaylor/huma/v2"
)

// Event is one thing that happened in the cluster.
type Event struct {
	ID      string    `json:"id" doc:"The same at all nodes; later events have greater ones, compared number by number"`
	At      time.Time `json:"at" doc:"When it was agreed on, by the clock of the node that led"`
	Kind    string    `json:"kind" doc:"For machines, as node-down"`
	Warning bool      `json:"warning" doc:"Something was lost, or went wrong"`
	Text    string    `json:"text" doc:"A sentence for people"`
	Node    string    `json:"node,omitempty"`
	Disk    string    `json:"disk,omitempty" doc:"Its identity"`
	Volume  string    `json:"volume,omitempty"`
	Host    string    `json:"host,omitempty"`
	Address string    `json:"address,omitempty"`
	Copies  int       `json:"copies,omitempty" doc:"How many copies of segments it is about"`
	By      string    `json:"by,omitempty" doc:"Who ordered it; not for tenants"`
	Tenant  string    `json:"tenant,omitempty" doc:"Whose the volume or host is"`
}

// Events are a part of what happened, oldest first.
type Events struct {
	Events  []Event `json:"events" nullable:"false"`
	Last    string  `json:"last" doc:"What to give as since to hear of what came after these; empty where nothing happened yet"`
	Missing bool    `json:"missing" doc:"More happened after what was asked for, and this node does not keep it any more"`
}

// EventsAsked is which part.
type EventsAsked struct {
	Since string `query:"since" maxLength:"32" doc:"An event's identity: those after it; without it, the latest"`
	Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"How many at most"`
}

const (
	streamPart  = 1000             // events that are read at a time
	streamQuiet = 15 * time.Second // after which a stream shows that it lives
)

func (s server) events(a huma.API) {
	get(a, "/events", "list-events", "What happened in the cluster, as far as this node keeps it; a tenant is told of its own volumes and hosts", func(ctx context.Context, in *EventsAsked) (Events, error) {
		return s.eventsAfter(in.Since, in.Limit, tenantOf(ctx))
	})
	huma.Register(a, huma.Operation{
		OperationID: "watch-events", Method: http.MethodGet, Path: "/v1/events/stream", Summary: "What happens in the cluster, as it happens",
		Description: "Server-sent events, of which a tenant is told those of its own volumes and hosts. Each has an event's identity and the event, in JSON; one of the type `missing` says that more had happened " +
			"since, which this node does not keep any more. Without `since` and `Last-Event-ID` it begins with what happens next.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, func(ctx context.Context, in *struct {
		Since string `query:"since" maxLength:"32" doc:"An event's identity: those after it"`
		Last  string `header:"Last-Event-ID" maxLength:"32" doc:"The same, as browsers give it when they connect again; it is heeded first"`
	}) (*huma.StreamResponse, error) {
		since := in.Since
		if in.Last != "" {
			since = in.Last
		}
		id, err := eventID(since)
		if err != nil {
			return nil, answer(err)
		}
		if _, err := s.node.Events(id, 1); err != nil {
			return nil, answer(err)
		}
		tenant := tenantOf(ctx)
		return &huma.StreamResponse{Body: func(ctx huma.Context) { s.stream(ctx, id, tenant) }}, nil
	})
}

// eventID is nil for no text.
func eventID(text string) (*events.ID, error) {
	if text == "" {
		return nil, nil
	}
	id, err := events.Parse(text)
	if err != nil {
		return nil, &node.Problem{Code: cluster.Invalid, Text: err.Error(), Next: "ashlar events -o json tells of events with their identities"}
	}
	return &id, nil
}

// eventsAfter are those after one, or the latest: all of them, or a tenant's own.
func (s server) eventsAfter(since string, limit int, tenant string) (Events, error) {
	out := Events{Events: []Event{}, Last: since}
	id, err := eventID(since)
	if err != nil {
		return out, err
	}
	ask := limit
	if tenant != "" {
		ask = math.MaxInt // any number of others may lie between a tenant's
	}
	happened, err := s.node.Events(id, ask)
	if err != nil {
		return out, err
	}
	out.Missing = happened.Missing
	for _, e := range happened.Events {
		if concernsTenant(e, tenant) {
			out.Events = append(out.Events, eventView(e, tenant))
		}
		out.Last = e.ID.String()
	}
	if len(out.Events) > limit && id == nil {
		out.Events = out.Events[len(out.Events)-limit:]
	} else if len(out.Events) > limit {
		out.Events = out.Events[:limit]
		out.Last = out.Events[limit-1].ID
	}
	return out, nil
}

// concernsTenant says whether a tenant is told of an event; an empty tenant is told of all. Why copies were left out for slowness tells of the
// operator's disks and nodes.
func concernsTenant(e events.Event, tenant string) bool {
	return tenant == "" || e.Tenant == tenant && e.Kind != events.CopiesDemoted
}

func eventView(e events.Event, tenant string) Event {
	if tenant != "" {
		e.By = "" // an operator
	}
	return Event{ID: e.ID.String(), At: e.At, Kind: string(e.Kind), Warning: e.Warning, Text: e.Text, Node: e.Node, Disk: e.Disk,
		Volume: e.Volume, Host: e.Host, Address: e.Address, Copies: e.Copies, By: e.By, Tenant: e.Tenant}
}

// stream tells of events until the client or the node is gone.
func (s server) stream(ctx huma.Context, since *events.ID, tenant string) {
	ctx.SetHeader("Content-Type", "text/event-stream")
	ctx.SetHeader("Cache-Control", "no-store")
	w := ctx.BodyWriter()
	flush := func() {}
	if rw, ok := w.(http.ResponseWriter); ok {
		flush = func() { http.NewResponseController(rw).Flush() }
	}
	if since == nil {
		since = &events.ID{}
		if latest, err := s.node.Events(nil, 1); err == nil && len(latest.Events) > 0 {
			since = &latest.Events[0].ID
		}
	}
	told := false // that some are missing
	for ctx.Context().Err() == nil {
		happened, err := s.node.Events(since, streamPart)
		if err != nil {
			return // the node has left its cluster
		}
		if happened.Missing && !told {
			fmt.Fprintf(w, "event: missing\ndata: {\"since\":%q}\n\n", since)
		}
		told = true
		for _, e := range happened.Events {
			since = &e.ID
			if !concernsTenant(e, tenant) {
				continue
			}
			text, err := json.Marshal(eventView(e, tenant))
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "id: %s\ndata: %s\n\n", e.ID, text); err != nil {
				return
			}
		}
		flush()
		if len(happened.Events) == streamPart {
			continue
		}
		select {
		case <-happened.Newer:
		case <-ctx.Context().Done():
		case <-time.After(streamQuiet):
			fmt.Fprint(w, ": quiet\n\n")
		}
	}
}

// Events are what happened after the event since, or without one the latest; at most limit, or without one as many as the node thinks fit.
func (c *Client) Events(ctx context.Context, in EventsAsked) (Events, error) {
	q := url.Values{}
	if in.Since != "" {
		q.Set("since", in.Since)
	}
	if in.Limit != 0 {
		q.Set("limit", strconv.Itoa(in.Limit))
	}
	return ask[Events](ctx, c, "GET", "/events?"+q.Encode(), nil)
}

// ErrMissing is what WatchEvents tells where events are not kept any more that it was asked for.
var ErrMissing = errors.New("api: more happened, and is not kept any more")

// lineMax bounds one line of a stream, bytes.
const lineMax = 1 << 20

// WatchEvents tells of what happens after the event since, or without one from now on, until ctx ends, tell
// gives an error or the node is gone. With ErrMissing there is no event.
func (c *Client) WatchEvents(ctx context.Context, since string, tell func(Event, error) error) error {
	r, err := c.request(ctx, "GET", "/v1/events/stream?since="+url.QueryEscape(since), nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return c.unreachable(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(answer.Body, lineMax))
		if err != nil {
			return c.unreachable(err)
		}
		return problemOf(answer, text)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, lineMax)
	missing := false
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			missing = value == "missing"
		case field == "data" && missing:
			if err := tell(Event{}, ErrMissing); err != nil {
				return err
			}
			missing = false
		case field == "data":
			var e Event
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return err
			}
			if err := tell(e, nil); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return c.unreachable(err)
	}
	if ctx.Err() == nil {
		return c.unreachable(io.ErrUnexpectedEOF)
	}
	return nil
}
