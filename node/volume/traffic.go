package volume

import (
	"sync/atomic"
	"time"

	"ashlar/target"
)

// Class is what kinds of operations are counted together.
type Class int

const (
	Reads Class = iota
	Writes
	Others
	classes
)

func (c Class) String() string { return [...]string{"read", "write", "other"}[c] }

// Bounds are the upper ends of the buckets of durations; one more is for what took longer.
var Bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Flow is what hosts asked of a volume through this node since its process began, of one class.
// An operation lasts from the last byte of its command to its answer.
type Flow struct {
	Operations uint64
	Failed     uint64 // of them: without a good status
	Bytes      uint64
	Took       time.Duration           // all of them together
	Within     [len(Bounds) + 1]uint64 // operations, by the first bound that they were within
}

// counters are a Flow that the volume's loop adds to and anybody reads.
type counters struct {
	failed, bytes, took atomic.Uint64
	within              [len(Bounds) + 1]atomic.Uint64
}

func classOf(k target.Kind) Class {
	switch k {
	case target.Read, target.Verify:
		return Reads
	case target.Write, target.CompareAndWrite, target.Zero, target.Unmap:
		return Writes
	}
	return Others
}

func (c *counters) add(bytes uint64, good bool, took time.Duration) {
	i := 0
	for i < len(Bounds) && took > Bounds[i] {
		i++
	}
	c.within[i].Add(1)
	c.bytes.Add(bytes)
	c.took.Add(uint64(max(took, 0)))
	if !good {
		c.failed.Add(1)
	}
}

// count counts an operation that was answered.
func (v *Volume) count(op *target.Op) {
	bytes := uint64(0)
	if op.Kind == target.Read || op.Kind == target.Write || op.Kind == target.CompareAndWrite {
		bytes = uint64(op.Blocks) * uint64(v.info.Load().BlockSize)
	}
	good := op.Status == target.OK || op.Status == target.Miscompare
	v.traffic[classOf(op.Kind)].add(bytes, good, time.Duration(v.now-op.Stamp.Read))
}

// Traffic are the flows of all classes, in their order.
func (v *Volume) Traffic() []Flow {
	all := make([]Flow, classes)
	for c := range all {
		from, f := &v.traffic[c], &all[c]
		f.Failed, f.Bytes, f.Took = from.failed.Load(), from.bytes.Load(), time.Duration(from.took.Load())
		for i := range f.Within {
			f.Within[i] = from.within[i].Load()
			f.Operations += f.Within[i]
		}
	}
	return all
}
