package cli

import (
	"testing"

	"ashlar/appliance/api"
)

func TestABarIsAsFullAsTheJob(t *testing.T) {
	for percent, want := range map[int]string{
		0:   "[................................] 0 %",
		49:  "[###############.................] 49 %",
		99:  "[###############################.] 99 %",
		100: "[################################] 100 %",
	} {
		if got := bar(percent); got != want {
			t.Errorf("%d: %s", percent, got)
		}
	}
}

func TestAJobThatIsNotWellEndsWithAnErrorThatSaysWhy(t *testing.T) {
	for _, x := range []struct {
		job  api.Job
		code string // empty: it is well
	}{
		{api.Job{State: "done", Result: &api.Verification{Equal: true}}, ""},
		{api.Job{State: "done", Kind: "verify", Result: &api.Verification{Differing: 2}}, "copies-differ"},
		{api.Job{State: "done", Kind: "repair", Result: &api.Verification{Differing: 2, Repaired: 1}}, "copies-differ"},
		{api.Job{State: "done", Result: &api.Verification{Skipped: 9}}, "copies-differ"},
		{api.Job{State: "failed", Problem: "the volume was deleted"}, "job-failed"},
		{api.Job{State: "cancelled", Percent: 40}, "job-cancelled"},
	} {
		err := outcome(x.job)
		if p, _ := err.(*api.Problem); (err == nil) != (x.code == "") || p != nil && p.Code != x.code {
			t.Errorf("%+v: %v", x.job, err)
		}
	}
}
