package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ashlar/appliance/api"
)

func TestEventsCanBeReadInPartsAndWatched(t *testing.T) {
	r := newRig(t)
	if status, _, body := r.send("GET", "/v1/events/stream", ""); status != 409 || !strings.Contains(string(body), "no-cluster") {
		t.Errorf("a node without a cluster: %d %s", status, body)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	must := r.must
	must(r.client.CreateCluster(ctx, api.NewCluster{Name: "prod"}))
	host := func(i int) {
		t.Helper()
		must(r.client.AddHost(ctx, api.Host{Name: fmt.Sprint("h", i), IQN: fmt.Sprint("iqn.2026-11.com.example:", i)}))
	}
	for i := range 3 {
		host(i)
	}
	latest, err := r.client.Events(ctx, api.EventsAsked{Limit: 3})
	must(err)
	for i, e := range latest.Events {
		if e.Kind != "host-added" || e.Host != fmt.Sprint("h", i) || e.At.IsZero() || e.Warning {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	var all []api.Event
	for since := "0"; ; {
		part, err := r.client.Events(ctx, api.EventsAsked{Since: since, Limit: 2})
		must(err)
		if since = part.Last; len(part.Events) == 0 {
			break
		}
		if part.Missing {
			t.Error("events are missing")
		}
		all = append(all, part.Events...)
	}
	if n := len(all); n < 6 || all[0].Kind != "cluster-created" || all[n-1] != latest.Events[2] {
		t.Fatalf("%+v", all)
	}

	// A stream goes on after the event that is named, and then with what happens.
	var seen []api.Event
	enough := errors.New("enough")
	err = r.client.WatchEvents(ctx, all[2].ID, func(e api.Event, err error) error {
		must(err)
		if seen = append(seen, e); len(seen) == len(all)-3 {
			host(3) // and not before, so that the stream has to wait for it
		}
		if e.Host == "h3" {
			return enough
		}
		return nil
	})
	if err != enough || len(seen) != len(all)-2 || seen[0] != all[3] {
		t.Errorf("%v: %+v", err, seen)
	}
	for _, path := range []string{"/v1/events?since=x", "/v1/events?limit=0", "/v1/events/stream?since=1.2.3"} {
		if status, _, body := r.send("GET", path, ""); status != 422 || !strings.Contains(string(body), `"invalid"`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}
