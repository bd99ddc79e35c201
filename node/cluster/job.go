package cluster

import (
	"slices"

	"ashlar/replication/wire"
)

const (
	jobsKept = 50  // of those that have ended, the latest
	JobNamed = 100 // blocks that a job names, in each of its lists
)

// JobKind is what a job does.
type JobKind string

const (
	VerifyJob JobKind = "verify" // compares all copies of a volume, with their data
	RepairJob JobKind = "repair" // and makes equal what differs, where it is known how
)

// JobEnd is how a job ended; empty while it goes on.
type JobEnd string

const (
	JobDone      JobEnd = "done"
	JobFailed    JobEnd = "failed"
	JobCancelled JobEnd = "cancelled"
)

// Job is work on a whole volume. It is nobody's but the cluster's: whoever is the volume's head carries it
// out, from where it was noted last. Never changed in place.
type Job struct {
	ID     uint64
	Kind   JobKind
	Volume wire.VolumeID
	Name   string // of the volume, which may be gone
	Tenant string `json:",omitempty"` // whose that is, or was
	By     string `json:",omitempty"` // who ordered it
	Began  int64  // ms since 1970, by the clock of the node that was asked

	Step     uint64 `json:",omitempty"` // how often it was noted: a note is of the step that it goes on from
	Segments int    `json:",omitempty"` // that the volume had when it was noted last
	JobProgress

	End     JobEnd `json:",omitempty"`
	Problem string `json:",omitempty"` // a sentence, where it failed
	Ended   int64  `json:",omitempty"` // ms since 1970, by the clock of the node that ended it; 0: it goes on, or nobody looked at a clock
}

// JobProgress is how far a comparison is, and what it found so far.
type JobProgress struct {
	Segment wire.Segment `json:",omitempty"` // where it goes on
	Block   uint32       `json:",omitempty"`

	Copies      int    `json:",omitempty"` // of segments
	Blocks      uint64 `json:",omitempty"` // that do not read as zeros
	Counts      Counts
	Differences []string `json:",omitempty"` // the first JobNamed, in words
	Repaired    []string `json:",omitempty"` // the same

	Hash []byte `json:",omitempty"` // state of the SHA-256 of what was compared; none: nothing was, or there is no hash of it
	Torn bool   `json:",omitempty"` // there is none: copies differed, or could not be asked
	Root []byte `json:",omitempty"` // what the hash came to in the end
}

// StartJob orders a job. Where the volume has one of that kind that goes on, it is that one, in the Result.
type StartJob struct {
	Kind   JobKind
	Volume string
	By     string `json:",omitempty"`
	At     int64
}

// NoteJob keeps how far a job is, on the word of who carried it out from a step on. Of two nodes that did so
// from the same step the second one is refused, and what it did does not count.
type NoteJob struct {
	Job      uint64
	Step     uint64
	Progress JobProgress
	End      JobEnd `json:",omitempty"` // JobDone or JobFailed, where it ended
	Problem  string `json:",omitempty"`
	At       int64
}

// CancelJob ends a job where it is.
type CancelJob struct {
	Job uint64
	At  int64
}

// Job finds one, or nil.
func (s *State) Job(id uint64) *Job {
	if i := s.jobAt(id); i >= 0 {
		return s.Jobs[i]
	}
	return nil
}

func (s *State) jobAt(id uint64) int {
	return slices.IndexFunc(s.Jobs, func(j *Job) bool { return j.ID == id })
}

// Running are the jobs that go on, the first ordered first.
func (s *State) Running() []*Job { return s.Jobs[s.endedJobs():] }

func (s *State) endedJobs() int {
	if i := slices.IndexFunc(s.Jobs, func(j *Job) bool { return j.End == "" }); i >= 0 {
		return i
	}
	return len(s.Jobs)
}

func (s *State) startJob(c *StartJob) Result {
	v := s.VolumeNamed(c.Volume)
	switch {
	case v == nil:
		return problem(NotFound, "no volume %q", c.Volume)
	case c.Kind != VerifyJob && c.Kind != RepairJob:
		return problem(Invalid, "this node knows no job of the kind %q", c.Kind)
	}
	for _, j := range s.Running() {
		if j.Volume == v.ID && j.Kind == c.Kind {
			return Result{Job: j.ID, Volume: v.ID}
		}
	}
	s.LastJob++
	s.Jobs = append(slices.Clone(s.Jobs), &Job{ID: s.LastJob, Kind: c.Kind, Volume: v.ID, Name: v.Name, Tenant: v.Tenant, By: c.By, Began: c.At, Segments: len(v.Segments)})
	return Result{Job: s.LastJob, Volume: v.ID}
}

func (s *State) noteJob(c *NoteJob) Result {
	old := s.Job(c.Job)
	switch {
	case old == nil || old.End != "" || old.Step != c.Step:
		return problem(Stale, "job %d is not at step %d any more", c.Job, c.Step)
	case c.End == JobCancelled:
		return problem(Invalid, "who carries job %d out does not cancel it", c.Job)
	}
	j := *old
	j.Step, j.Segments, j.JobProgress = j.Step+1, len(s.Volumes[j.Volume].Segments), c.Progress
	if c.End != "" {
		s.endJob(&j, c.End, c.Problem, c.At)
		return Result{Job: j.ID, Volume: j.Volume}
	}
	s.Jobs = slices.Clone(s.Jobs)
	s.Jobs[s.jobAt(j.ID)] = &j
	return Result{Job: j.ID, Volume: j.Volume}
}

func (s *State) cancelJob(c *CancelJob) Result {
	old := s.Job(c.Job)
	switch {
	case old == nil:
		return problem(NotFound, "no job %d", c.Job)
	case old.End != "":
		return problem(Refused, "job %d has ended: %s", c.Job, old.End)
	}
	j := *old
	s.endJob(&j, JobCancelled, "", c.At)
	return Result{Job: j.ID, Volume: j.Volume}
}

// endJob puts a job behind the others that have ended, which are in the order in which they did, before those that
// go on. The first of more than are kept are forgotten.
func (s *State) endJob(j *Job, how JobEnd, why string, at int64) {
	j.End, j.Problem, j.Ended, j.Hash = how, why, at, nil
	all := slices.Clone(s.Jobs)
	i := s.jobAt(j.ID)
	all = slices.Insert(slices.Delete(all, i, i+1), s.endedJobs(), j)
	s.Jobs = all
	if n := s.endedJobs() - jobsKept; n > 0 {
		s.Jobs = slices.Clone(all[n:])
	}
}

// endJobsOf ends those of a volume that is deleted.
func (s *State) endJobsOf(v *Volume) {
	for _, old := range s.Running() {
		if old.Volume == v.ID {
			j := *old
			s.endJob(&j, JobFailed, "the volume was deleted", 0)
		}
	}
}
