package main

import (
	"os"
	"time"
)

// Segments are as small as can be, on a disk that is a file without content. Their copies are made one after the other, some
// hundred a second: the node of which only the start is measured knows of all its segments, and has made the copies of a part; of the
// one that is written to all copies are made before.
const (
	startSegments = 100_000
	manySegments  = 2000 // of one volume; the others have as many
	manyVolumes   = 32
	manySessions  = 1000
	growthSpan    = 256 << 20

	little    = "one volume"
	much      = "4,000 segments, 33 volumes"
	crowd     = "and 1,000 sessions"
	starting  = "start"
	emptyDisk = 6400 << 30 // has room for the rows of so many copies
)

// grown is a node with a volume v to write to, and with more where it is ordered.
func (b *bench) grown(name string, segments uint64, volumes int) (c *cluster, err error) {
	if c := b.grownNodes[name]; c != nil {
		return c, nil
	}
	if c, err = b.newCluster(name, 1, "--segment-size", "1M"); err != nil {
		return nil, err
	}
	if err := c.addEmptyDisk(0, emptyDisk); err != nil {
		return nil, err
	}
	iqn, err := c.volume("v", growthSpan, 1)
	if err != nil {
		return nil, err
	}
	c.head = c.path(0, iqn)
	b.grownNodes[name] = c
	if err := c.fill(growthSpan); err != nil {
		return nil, err
	}
	if segments > 0 {
		if _, err := c.volume("many", segments<<20, 1); err != nil {
			return nil, err
		}
	}
	if volumes > 0 {
		if _, err := c.volumes(volumes, 1); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// addEmptyDisk gives a node a file without content.
func (c *cluster) addEmptyDisk(k int, bytes int64) error {
	f, err := os.Create(c.disk(k))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(bytes); err != nil {
		return err
	}
	_, err = c.order(k, "", "disk", "add", c.disk(k))
	return err
}

// quiet waits until a node does next to nothing any more, for a minute at most.
func (c *cluster) quiet() error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		was, err := c.head.processor()
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
		is, err := c.head.processor()
		if err != nil || is-was < 50*time.Millisecond {
			return err
		}
	}
	return nil
}

func (b *bench) growthCases() []benchCase {
	seconds := func(o map[string]outcome) float64 { return p50(o[starting]) / 1e6 }
	w := work{write: true, bytes: kib4, depth: 32, sessions: 1, span: growthSpan}
	return []benchCase{
		{name: "growth-start", about: "a node with 100,000 segments starts, until a host has logged in and read; us", long: 1,
			rivals: func() ([]rival, error) {
				c, err := b.grown("start", startSegments, 0)
				if err != nil {
					return nil, err
				}
				return []rival{{starting, func(time.Duration) (sample, error) { return c.restart() }}}, nil
			},
			goals: []goal{{what: "seconds", all: seconds, atMost: 5}}},
		{name: "growth-write-32", about: "one node with more and more on it, " + w.String() + ", durable",
			rivals: func() ([]rival, error) {
				few, err := b.grown("few", 0, 0)
				if err != nil {
					return nil, err
				}
				many, err := b.grown("many", manySegments, manyVolumes)
				if err != nil {
					return nil, err
				}
				iqns, err := many.volumes(manyVolumes, 1)
				if err != nil {
					return nil, err
				}
				if err := many.quiet(); err != nil {
					return nil, err
				}
				return []rival{{little, drive(few.head, w)}, {much, drive(many.head, w)}, {crowd, func(length time.Duration) (sample, error) {
					_, end, err := many.path(0, iqns...).streams(work{sessions: manySessions, bytes: kib4, depth: 1, span: smallBytes})
					if err != nil {
						return sample{}, err
					}
					defer end()
					return drive(many.head, w)(length)
				}}}, nil
			},
			goals: []goal{
				{what: "rate", of: rate, ours: much, to: little, atLeast: 0.8},
				{what: "rate", of: rate, ours: crowd, to: little, atLeast: 0.8},
			}}}
}

// restart kills a node of one, and measures from its start until it answers and a host has logged in and read.
func (c *cluster) restart() (sample, error) {
	if err := c.b.stop(c.pids[0]); err != nil {
		return sample{}, err
	}
	begin := time.Now()
	if err := c.serve(0); err != nil {
		return sample{}, err
	}
	err := eventually(func() error {
		if _, err := c.order(0, "", "status"); err != nil {
			return err
		}
		streams, end, err := c.head.streams(work{sessions: 1, bytes: kib4, depth: 1, span: growthSpan})
		if err != nil {
			return err
		}
		defer end()
		_, err = together(streams, func(x *stream) { x.count(1) })
		return err
	})
	took := time.Since(begin)
	us := float64(took.Microseconds())
	return sample{rate: 1 / took.Seconds(), latency: []float64{us, us, us}, took: took}, err
}
