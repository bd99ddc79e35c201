package engine

import (
	"context"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"
	"slices"
	"time"

	"ashlar/node/cluster"
)

// How heads carry out the jobs of their volumes: one after the other for a while each, and then they note how far it
// is, so that a head that comes after them repeats no more than that.
const (
	jobStep     = 2 * time.Second        // of work between two notes
	jobPieceMax = 2 * time.Second        // for a piece of 1 MiB
	jobPause    = 200 * time.Millisecond // before a copy that did not answer is asked again
	jobTries    = 50                     // of one piece, before it is left out
)

// worker carries out the jobs of the volumes that this node is the head of.
func (e *Engine) worker() {
	tries := map[uint64]int{} // of the piece that a job is at, here
	for e.ctx.Err() == nil {
		st, changed := e.Consensus.Watch()
		here, advanced := map[uint64]int{}, false
		for _, j := range st.Running() {
			v := st.Volumes[j.Volume]
			if v.Head != e.Self {
				continue
			}
			here[j.ID] = tries[j.ID]
			if !e.leads(v) {
				continue
			}
			if e.work(j, here[j.ID] >= jobTries) {
				here[j.ID], advanced = 0, true
			} else {
				here[j.ID]++
			}
		}
		tries = here
		switch {
		case advanced:
		case len(here) > 0:
			e.pause(jobPause)
		default:
			select {
			case <-changed:
			case <-e.ctx.Done():
			}
		}
	}
}

// work goes on with a job for a while from where it was noted, and notes how far it came. It is false where it came
// no further: a copy did not answer, or this node is not the head any more. leave has it leave the first piece out if need be.
func (e *Engine) work(j *cluster.Job, leave bool) bool {
	c := &cluster.NoteJob{Job: j.ID, Step: j.Step, Progress: j.JobProgress}
	p := &c.Progress
	p.Differences, p.Repaired = slices.Clone(p.Differences), slices.Clone(p.Repaired)
	sum, err := resumed(p.Hash)
	if err != nil { // who noted it is of another kind than this program
		c.End, c.Problem = cluster.JobFailed, "how far the job was cannot be read at the node that is the head now"
	}
	at := Place{p.Segment, p.Block}
	for began := time.Now(); c.End == "" && time.Since(began) < jobStep; leave = false {
		st := e.Consensus.State()
		if now := st.Job(j.ID); now == nil || now.End != "" || now.Step != j.Step {
			return false // somebody cancelled it, or was faster
		}
		x := e.compareFor(j, st, at)
		if x.NotHead || x.Broken && !leave {
			break
		}
		if x.Broken {
			x = leaveOut(st, st.Volumes[j.Volume], at)
			last := at.Block + uint32(x.Counts.Skipped) - 1
			p.Differences = named(p.Differences, fmt.Sprintf("segment %d blocks %d to %d: a copy could not be asked", at.Segment, at.Block, last))
		}
		add(p, st, x)
		sum.Write(x.Leaves)
		if at = x.Next; x.End {
			c.End = cluster.JobDone
		}
	}
	if c.End == "" && at == (Place{j.Segment, j.Block}) {
		return false
	}
	p.Segment, p.Block = at.Segment, at.Block
	switch {
	case p.Torn:
		p.Hash = nil
	case c.End == cluster.JobDone:
		p.Root = sum.Sum(nil)
	default:
		p.Hash = state(sum)
	}
	c.At = time.Now().UnixMilli()
	r, err := e.propose(cluster.Command{NoteJob: c})
	if r.Problem != "" {
		e.Log.Info("what was done of a job does not count", "job", j.ID, "volume", j.Name, "why", r.Problem)
	}
	return err == nil && r.Problem == ""
}

// compareFor compares a job's next piece.
func (e *Engine) compareFor(j *cluster.Job, st *cluster.State, at Place) Swept {
	ctx, cancel := context.WithTimeout(e.ctx, jobPieceMax)
	defer cancel()
	x := Swept{Next: at}
	if err := e.compareNext(ctx, Sweep{j.Volume, at, true, j.Kind == cluster.RepairJob}, st, &x); err != nil {
		x.Broken = true
	}
	return x
}

// add counts what a piece came to.
func add(p *cluster.JobProgress, st *cluster.State, x Swept) {
	p.Copies += x.Copies
	p.Blocks += x.Blocks
	p.Counts.Differing += x.Counts.Differing
	p.Counts.Mended += x.Counts.Mended
	p.Counts.Skipped += x.Counts.Skipped
	p.Torn = p.Torn || x.Torn
	for _, d := range x.Found {
		if d.Mended {
			p.Repaired = named(p.Repaired, d.words(st))
		} else {
			p.Differences = named(p.Differences, d.words(st))
		}
	}
}

// named is a list with one more, if there is room.
func named(list []string, text string) []string {
	if len(list) >= cluster.JobNamed {
		return list
	}
	return append(list, text)
}

// resumed is the hash whose state that is.
func resumed(state []byte) (hash.Hash, error) {
	h := sha256.New()
	if len(state) == 0 {
		return h, nil
	}
	return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

func state(h hash.Hash) []byte {
	b, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic("engine: " + err.Error()) // SHA-256 has a state
	}
	return b
}
