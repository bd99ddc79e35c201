package cluster

import (
	"fmt"
	"testing"

	"ashlar/replication/wire"
)

// job is a command about jobs: mostly about one that goes on.
func (g *chaos) job(s *State) Command {
	id, step := 1+uint64(g.IntN(int(s.LastJob)+2)), uint64(g.IntN(3))
	if all := s.Running(); len(all) > 0 && g.IntN(6) > 0 {
		j := all[g.IntN(len(all))]
		id, step = j.ID, j.Step
	}
	switch g.IntN(8) {
	case 0:
		return Command{CancelJob: &CancelJob{Job: id, At: int64(len(g.past))}}
	case 1, 2, 3:
		kind := []JobKind{VerifyJob, RepairJob, "other"}[g.IntN(9)/4]
		return Command{StartJob: &StartJob{Kind: kind, Volume: fmt.Sprint("v", g.IntN(6)), By: "ci", At: int64(len(g.past))}}
	}
	n := &NoteJob{Job: id, Step: step, At: int64(len(g.past)), Progress: JobProgress{Segment: wire.Segment(g.IntN(3)), Copies: 2, Blocks: 7,
		Counts: Counts{Differing: 1}, Differences: []string{"a block"}, Hash: []byte{byte(step)}}}
	switch g.IntN(4) {
	case 0:
		n.End, n.Progress.Root = JobDone, []byte{1}
	case 1:
		n.End, n.Problem = JobFailed, "it was in the way"
	}
	return Command{NoteJob: n}
}

// checkJobs: those that have ended come first, and no more than are kept; of those that go on each is of a volume that is
// there, and the only one of its kind; numbers are not used twice; what has ended stays as it is, and steps only grow.
func checkJobs(t testing.TB, before, next *State, c Command) {
	t.Helper()
	ended, running := 0, map[string]bool{}
	for i, j := range next.Jobs {
		what := fmt.Sprint(j.Kind, " ", j.Volume)
		old := before.Job(j.ID)
		switch {
		case next.Job(j.ID) != j || j.ID > next.LastJob || old == nil && j.ID <= before.LastJob:
			t.Fatalf("%s: the number of %s", text(c), text(j))
		case old != nil && old != j && (old.End != "" || j.Step < old.Step || j.Step == old.Step && j.End == ""):
			t.Fatalf("%s: %s after %s", text(c), text(j), text(old))
		case j.End != "" && i != ended:
			t.Fatalf("%s: it has ended and is behind one that goes on: %s", text(c), text(next.Jobs))
		case j.End != "":
			ended++
		case next.Volumes[j.Volume] == nil || running[what]:
			t.Fatalf("%s: it cannot go on: %s", text(c), text(next.Jobs))
		default:
			running[what] = true
		}
	}
	if ended > jobsKept {
		t.Fatalf("%s: %d that have ended are kept", text(c), ended)
	}
}
