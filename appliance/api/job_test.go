package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"ashlar/appliance/api"
)

// TestAJobIsToldOfAtOnceAndGoesOnWhenNobodyWaits: who waits for it is answered what it found, in the same way as who
// looks for it later.
func TestAJobIsToldOfAtOnceAndGoesOnWhenNobodyWaits(t *testing.T) {
	r := newRig(t)
	ctx, must := t.Context(), r.must
	must(r.client.CreateCluster(ctx, api.NewCluster{Name: "prod", SegmentSize: 1 << 20}))
	_, err := r.client.AddDisk(ctx, api.NewDisk{Path: r.dir + "/disk", Size: 64 << 20})
	must(err)
	_, err = r.client.CreateVolume(ctx, api.NewVolume{Name: "db", Size: 4 << 20, Copies: 1})
	must(err)
	if all, err := r.client.Jobs(ctx); err != nil || len(all) != 0 {
		t.Errorf("before: %+v, %v", all, err)
	}
	status, _, text := r.send("POST", "/v1/volumes/db/verify?wait=false", `{"repair":true}`)
	var j api.Job
	if err := json.Unmarshal(text, &j); err != nil || status != 202 || j.ID != 1 || j.Kind != "repair" || j.Volume != "db" || j.All != 4 || j.By == "" || j.Since.IsZero() {
		t.Fatalf("status %d, %v: %s", status, err, text)
	}
	for deadline := time.Now().Add(20 * time.Second); j.State == "running" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if j.Percent > 99 || j.Ended != nil || j.Result != nil {
			t.Errorf("it goes on: %+v", j)
		}
		j, err = r.client.Job(ctx, 1)
		must(err)
	}
	if j.State != "done" || j.Percent != 100 || j.Segments != 4 || j.Ended == nil || j.Node != "" {
		t.Fatalf("in the end: %+v", j)
	}
	waited, err := r.client.VerifyVolume(ctx, "db")
	must(err)
	if found := j.Result; found == nil || !found.Equal || found.Root == "" || found.Root != waited.Root || found.Copies != 4 {
		t.Errorf("it found %+v, and who waited for another one %+v", found, waited)
	}
	if all, err := r.client.Jobs(ctx); err != nil || len(all) != 2 || all[0].ID != 2 || all[1].ID != 1 {
		t.Errorf("after: %+v, %v", all, err)
	}
}

func TestAJobThatIsCancelledEndsWhereItIs(t *testing.T) {
	r := newRig(t)
	ctx, must := t.Context(), r.must
	must(r.client.CreateCluster(ctx, api.NewCluster{Name: "prod", SegmentSize: 4 << 20}))
	_, err := r.client.AddDisk(ctx, api.NewDisk{Path: r.dir + "/disk", Size: 64 << 20})
	must(err)
	_, err = r.client.CreateVolume(ctx, api.NewVolume{Name: "db", Size: 8 << 30, Copies: 1}) // long enough to be cancelled
	must(err)
	waits := make(chan error, 1)
	go func() {
		_, err := r.client.VerifyVolume(context.WithoutCancel(ctx), "db")
		waits <- err
	}()
	var all []api.Job
	for deadline := time.Now().Add(20 * time.Second); len(all) == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all, err = r.client.Jobs(ctx)
		must(err)
	}
	j, err := r.client.StartVerify(ctx, "db", api.VerifyOrder{}) // which is that one
	must(err)
	must(r.client.CancelJob(ctx, j.ID))
	var p *api.Problem
	if err := <-waits; !errors.As(err, &p) || p.Code != "wrong-state" {
		t.Errorf("who waited for it: %v", err)
	}
	j, err = r.client.Job(ctx, j.ID)
	must(err)
	if len(all) != 1 || j.ID != all[0].ID || j.State != "cancelled" || j.Percent == 100 || j.Result != nil || j.Ended == nil {
		t.Errorf("%+v", j)
	}
	must(r.client.DeleteVolume(ctx, "db"))
}
