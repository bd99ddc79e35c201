package main

import (
	"fmt"
	"time"

	"ashlar/target/targettest/initiator"
)

// mostUnderWay bounds the operations of a session that begin on a schedule. One that has to wait
// for room counts from when it was due all the same.
const mostUnderWay = 1024

// count does so many operations.
func (x *stream) count(n int) {
	under := min(n, x.w.depth)
	n -= under
	x.keepFull(under, func(time.Time) bool {
		n--
		return n >= 0
	})
}

// pace begins operations on a schedule, whatever became of those before, until it is over.
// Each counts from when it was due: a pause is seen by all that fell into it, and
// not only by those that were under way.
func (x *stream) pace(rate float64, over func(now time.Time) bool) {
	var free []*slot
	done := make(chan *slot, mostUnderWay)
	begin, every := time.Now(), time.Duration(float64(time.Second)/rate)
	next, under := begin, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		ends := x.err != nil || over(now)
		for !ends && !next.After(now) && under < mostUnderWay {
			if len(free) == 0 {
				k := x.slot()
				k.Done = func(*initiator.Command) { done <- k }
				free = append(free, k)
			}
			k := free[len(free)-1]
			free = free[:len(free)-1]
			x.submit(k, next)
			next = next.Add(every)
			under++
		}
		if ends && under == 0 {
			return
		}
		timer.Reset(max(0, time.Until(next)))
		var due <-chan time.Time
		if !ends && under < mostUnderWay {
			due = timer.C
		}
		select {
		case k := <-done:
			x.ended(k)
			free = append(free, k)
			under--
		case <-due:
		}
	}
}

// paced is the Go initiator with a session that begins so many operations a second.
func paced(s *server, w work, rate float64) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		return s.observed(func() (sample, error) {
			end := time.Now().Add(length)
			return pacedUntil(s, w, rate, func(now time.Time) bool { return !now.Before(end) })
		})
	}
}

func pacedUntil(s *server, w work, rate float64, over func(time.Time) bool) (sample, error) {
	streams, end, err := s.streams(w)
	if err != nil {
		return sample{}, err
	}
	defer end()
	return together(streams, func(x *stream) { x.pace(rate/float64(w.sessions), over) })
}

// pacedCases ask how long operations take at parts of the rate that each rival reached when it was
// asked for as many as it could do.
func (b *bench) pacedCases() (all []benchCase) {
	add := func(name, closed string, w work, servers func() (map[string]*server, error), names ...string) {
		w.sessions = 1
		for _, percent := range []int{25, 50, 75} {
			all = append(all, benchCase{name: fmt.Sprintf("i-%s-%d", name, percent),
				about: fmt.Sprintf("begun on a schedule, %d %% of the rate of %s: %v", percent, closed, w), rivals: func() (rivals []rival, err error) {
					servers, err := servers()
					if err != nil {
						return nil, err
					}
					for _, name := range names {
						reached, err := b.reached(closed, name)
						if err != nil {
							return nil, err
						}
						rivals = append(rivals, rival{name, paced(servers[name], w, reached*float64(percent)/100)})
					}
					return rivals, nil
				}})
		}
	}
	add("a", "a-4k-read-32x1", work{bytes: kib4, depth: 32, span: unitBytes}, func() (map[string]*server, error) {
		u, err := b.memoryUnits()
		if err != nil {
			return nil, err
		}
		return map[string]*server{ours: u.ours, tgt: u.tgt}, nil
	}, ours, tgt)
	add("c", "c-write-32", work{write: true, bytes: kib4, depth: 32, span: volumeBytes}, func() (map[string]*server, error) {
		c, err := b.clusterOf(3, 2)
		if err != nil {
			return nil, err
		}
		return map[string]*server{ours: c.head}, nil
	}, ours)
	return all
}

// reached is the rate of a rival in a case of this run, which is measured now if it was not.
func (b *bench) reached(name, of string) (float64, error) {
	r, done := b.results[name]
	if !done {
		for _, c := range b.cases() {
			if c.name == name {
				var err error
				if r, err = b.measure(c); err != nil {
					return 0, err
				}
			}
		}
	}
	for _, o := range r.Outcomes {
		if o.Rival == of {
			return o.Rate, nil
		}
	}
	return 0, fmt.Errorf("%s has no rate of %s", name, of)
}
