package cluster

import (
	"slices"
	"testing"
)

func (r *rig) start(kind JobKind, volume string) uint64 {
	r.t.Helper()
	return r.good(Command{StartJob: &StartJob{Kind: kind, Volume: volume, By: "ci", At: 1}}).Job
}

// noted has a job's present step noted.
func (r *rig) noted(id uint64, p JobProgress, end JobEnd) Command {
	return Command{NoteJob: &NoteJob{Job: id, Step: r.Job(id).Step, Progress: p, End: end, At: 2}}
}

func (r *rig) expectJobs(ids ...uint64) {
	r.t.Helper()
	var got []uint64
	for _, j := range r.Jobs {
		got = append(got, j.ID)
	}
	if !slices.Equal(got, ids) {
		r.t.Fatalf("there are the jobs %v, want %v", got, ids)
	}
}

func TestAVolumeHasOneJobOfAKindAtATime(t *testing.T) {
	r := newRig(t, 2, 2)
	r.volume("a", 2, 3)
	r.volume("b", 2, 1)
	first, repair, other := r.start(VerifyJob, "a"), r.start(RepairJob, "a"), r.start(VerifyJob, "b")
	if again := r.start(VerifyJob, "a"); again != first || repair == first || other == first {
		t.Errorf("jobs %d, %d, %d, and %d again", first, repair, other, again)
	}
	r.good(r.noted(first, JobProgress{}, JobDone))
	if next := r.start(VerifyJob, "a"); next <= other {
		t.Errorf("once the first had ended the next has its number: %d", next)
	}
	if j := r.Job(first); j.Name != "a" || j.By != "ci" || j.Began != 1 || j.Ended != 2 || j.Segments != 3 {
		t.Errorf("%+v", j)
	}
	r.refuse(NotFound, Command{StartJob: &StartJob{Kind: VerifyJob, Volume: "c"}})
	r.refuse(Invalid, Command{StartJob: &StartJob{Kind: "polish", Volume: "a"}})
}

func TestOfTwoNodesThatCarryAJobOutFromOneStepOnlyTheFirstCounts(t *testing.T) {
	r := newRig(t, 2, 2)
	r.volume("v", 2, 4)
	id := r.start(VerifyJob, "v")
	one, other := r.noted(id, JobProgress{Segment: 2, Blocks: 5}, ""), r.noted(id, JobProgress{Segment: 3, Blocks: 9}, JobDone)
	r.good(one)
	r.refuse(Stale, one)
	r.refuse(Stale, other)
	if j := r.Job(id); j.Step != 1 || j.Segment != 2 || j.Blocks != 5 || j.End != "" {
		t.Errorf("%+v", j)
	}
	r.refuse(Invalid, r.noted(id, JobProgress{}, JobCancelled))
	r.good(r.noted(id, JobProgress{Segment: 4, Blocks: 6, Root: []byte{1}}, JobDone))
	r.refuse(Stale, r.noted(id, JobProgress{}, JobDone))
	if j := r.Job(id); j.Blocks != 6 || j.End != JobDone || string(j.Root) != "\x01" {
		t.Errorf("%+v", j)
	}
	r.refuse(Stale, Command{NoteJob: &NoteJob{Job: 99}})
}

func TestAJobEndsWhenItIsCancelledAndWithItsVolume(t *testing.T) {
	r := newRig(t, 2, 2)
	r.volume("a", 2, 1)
	r.volume("b", 2, 1)
	kept, cancelled, verify, repair := r.start(VerifyJob, "b"), r.start(RepairJob, "b"), r.start(VerifyJob, "a"), r.start(RepairJob, "a")
	r.good(Command{CancelJob: &CancelJob{Job: cancelled, At: 7}})
	r.refuse(Refused, Command{CancelJob: &CancelJob{Job: cancelled}})
	r.refuse(NotFound, Command{CancelJob: &CancelJob{Job: 99}})
	r.refuse(Stale, r.noted(cancelled, JobProgress{Blocks: 1}, JobDone))
	r.good(Command{DeleteVolume: &DeleteVolume{"a"}})
	if j := r.Job(cancelled); j.End != JobCancelled || j.Ended != 7 {
		t.Errorf("cancelled: %+v", j)
	}
	for _, id := range []uint64{verify, repair} {
		if j := r.Job(id); j.End != JobFailed || j.Problem == "" || j.Name != "a" {
			t.Errorf("of a volume that is gone: %+v", j)
		}
	}
	if all := r.Running(); len(all) != 1 || all[0].ID != kept {
		t.Errorf("there go on %+v", all)
	}
}

// TestTheJobsThatEndedLastAreKept, whenever they began: one that took long is not forgotten as soon as it ends.
func TestTheJobsThatEndedLastAreKept(t *testing.T) {
	r := newRig(t, 2, 2)
	r.volume("a", 2, 1)
	r.volume("b", 2, 1)
	long := r.start(VerifyJob, "a")
	var ended []uint64
	for range jobsKept + 3 {
		id := r.start(VerifyJob, "b")
		r.good(r.noted(id, JobProgress{}, JobDone))
		ended = append(ended, id)
	}
	r.expectJobs(append(slices.Clone(ended[3:]), long)...)
	r.good(r.noted(long, JobProgress{}, JobDone))
	r.expectJobs(append(slices.Clone(ended[4:]), long)...)
}

// TestAdoptedDisksTellOfNoJobs: whoever finds them has no use for what somebody ordered of a cluster that is gone.
func TestAdoptedDisksTellOfNoJobs(t *testing.T) {
	r := newRig(t, 2, 2)
	r.volume("v", 2, 1)
	id := r.start(VerifyJob, "v")
	l, err := NewLabel(r.State)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.State()
	if err != nil || len(s.Jobs) != 0 || s.LastJob != id {
		t.Errorf("%v: jobs %+v, the last was %d", err, s.Jobs, s.LastJob)
	}
}
