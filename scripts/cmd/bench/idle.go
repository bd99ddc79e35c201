package main

import (
	"fmt"
	"time"
)

// idleCases are nodes that hosts are logged in to, and ask nothing of.
func (b *bench) idleCases() []benchCase {
	const volumes = 32
	return []benchCase{{name: "j-idle", about: fmt.Sprintf("%d volumes with a session each, that ask nothing", volumes), long: 12,
		rivals: func() (rivals []rival, err error) {
			for _, kind := range []clusterKind{{1, 1}, {3, 2}} {
				c, err := b.clusterOf(kind.nodes, kind.copies)
				if err != nil {
					return nil, err
				}
				iqns, err := c.volumes(volumes, kind.copies)
				if err != nil {
					return nil, err
				}
				rivals = append(rivals, rival{idleNames[kind.nodes], idle(c.path(0, iqns...), volumes)})
			}
			return rivals, nil
		},
		goals: []goal{
			{what: "% of a core, one node", all: func(o map[string]outcome) float64 { return 100 * o[idleNames[1]].Cores }, atMost: 2},
			{what: "% of a core, each of three", all: func(o map[string]outcome) float64 { return 100 * o[idleNames[3]].Cores / 3 }, atMost: 2},
			{what: "MB, one node", all: func(o map[string]outcome) float64 { return float64(o[idleNames[1]].Memory) / 1e6 }, atMost: 200},
			{what: "MB, each of three", all: func(o map[string]outcome) float64 { return float64(o[idleNames[3]].Memory) / 3e6 }, atMost: 200},
		}}}
}

var idleNames = map[int]string{1: "one node", 3: "three nodes"}

func idle(s *server, sessions int) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		_, end, err := s.streams(work{sessions: sessions, bytes: kib4, depth: 1, span: smallBytes})
		if err != nil {
			return sample{}, err
		}
		defer end()
		time.Sleep(time.Second) // what the logins took is over
		return s.observed(func() (sample, error) {
			time.Sleep(length)
			return sample{took: length}, nil
		})
	}
}
