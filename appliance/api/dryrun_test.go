package api_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"ashlar/appliance/api"
)

func TestADryRunTellsWhatAnOrderWouldComeToAndChangesNothing(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	must := r.must
	must(r.client.CreateCluster(ctx, api.NewCluster{Name: "prod", SegmentSize: 4 << 20}))
	_, err := r.client.AddDisk(ctx, api.NewDisk{Path: filepath.Join(t.TempDir(), "disk"), Size: 64 << 20})
	must(err)
	_, err = r.client.CreateVolume(ctx, api.NewVolume{Name: "db", Size: 8 << 20, Copies: 1})
	must(err)
	must(r.client.AddHost(ctx, api.Host{Name: "web", IQN: "iqn.2026-11.com.example:web"}))
	must(r.client.AddExport(ctx, api.Export{Volume: "db", Host: "web"}))
	before, err := r.client.Events(ctx, api.EventsAsked{Limit: 1})
	must(err)
	for _, c := range []struct {
		method, path, body string
		status             int
		refused            string // the code
		copies             int
		lost               int // by hosts
	}{
		{"POST", "/v1/volumes?dry_run=true", `{"name":"v","size":10485760,"copies":1}`, 200, "", 3, 0},
		{"POST", "/v1/volumes?dry_run=true", `{"name":"v","size":10485760,"copies":2}`, 200, "too-few-domains", 0, 0},
		{"PUT", "/v1/volumes/db/size?dry_run=true", `{"size":16777216}`, 200, "", 2, 0},
		{"PUT", "/v1/volumes/db/size?dry_run=true", `{"size":4194304}`, 200, "wrong-state", 0, 0},
		{"DELETE", "/v1/volumes/db?dry_run=true", "", 200, "wrong-state", 0, 0},
		{"DELETE", "/v1/volumes/none?dry_run=true", "", 200, "not-found", 0, 0},
		{"DELETE", "/v1/exports/db/web?dry_run=true", "", 200, "", 0, 1},
		{"POST", "/v1/nodes/node1/drain?dry_run=true", `{"data":true}`, 200, "wrong-state", 0, 0},
		{"PUT", "/v1/volumes/db/head?dry_run=true", `{"node":"node1"}`, 200, "", 0, 0}, // it is there
		{"PATCH", "/v1/cluster/settings?dry_run=true", `{"rebalance":"off"}`, 200, "", 0, 0},
		{"DELETE", "/v1/hosts/web?dry_run=yes", "", 422, "", 0, 0},
		{"POST", "/v1/disks?dry_run=true", `{"path":"/nowhere"}`, 422, "", 0, 0},
	} {
		status, kind, body := r.send(c.method, c.path, c.body)
		var p api.Plan
		if err := json.Unmarshal(body, &p); err != nil || status != c.status || status == 200 && kind != "application/json" {
			t.Errorf("%s %s: %d %s %s", c.method, c.path, status, kind, body)
			continue
		}
		code := ""
		if p.Refused != nil {
			code = p.Refused.Code
		}
		if code != c.refused || p.Copies != c.copies || len(p.Hosts) != c.lost || status == 200 && !strings.Contains(string(body), `"moves":[`) {
			t.Errorf("%s %s: %s", c.method, c.path, body)
		}
	}
	after, err := r.client.Events(ctx, api.EventsAsked{Limit: 1})
	must(err)
	if after.Last != before.Last {
		t.Errorf("a dry run changed something: %+v", after)
	}
}
