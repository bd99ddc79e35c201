package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ashlar/target/targettest/initiator"
)

// The node that is killed has copies of two thirds of the segments, which come back some dozens a second.
const (
	smallVolume = 16 // segments
	largeVolume = 1000

	small = "16 segments"
	large = "1,000 segments"

	watched = 5 * time.Second // after the death

	busy          = 0x08 // SAM-5 table 33
	unitAttention = 0x6  // SPC-4 table 45: as that the head is elsewhere now
)

// failoverCases kill the process of a volume's head.
func (b *bench) failoverCases() []benchCase {
	return []benchCase{{name: "growth-failover", about: "3 nodes, 2 copies: the head's process is killed; us without a write through another node",
		rivals: func() (rivals []rival, err error) {
			for _, v := range []struct {
				name     string
				segments int
			}{{small, smallVolume}, {large, largeVolume}} {
				c, err := b.mortal(v.segments)
				if err != nil {
					return nil, err
				}
				rivals = append(rivals, rival{v.name, func(time.Duration) (sample, error) { return c.loseHead() }})
			}
			return rivals, nil
		},
		goals: []goal{{what: "p50", of: p50, ours: large, to: small, atMost: 1.2}}}}
}

// mortal is a cluster whose nodes can be killed, with a volume v of so many segments.
func (b *bench) mortal(segments int) (*cluster, error) {
	c, err := b.newCluster(fmt.Sprintf("failover%d", segments), 3, "--segment-size", "1M")
	for k := 0; k < 3 && err == nil; k++ {
		err = c.addEmptyDisk(k, diskBytes)
	}
	iqn := ""
	if err == nil {
		iqn, err = c.volume("v", uint64(segments)*mib1, 2)
	}
	if err != nil {
		return nil, err
	}
	c.head = c.path(0, iqn)
	return c, c.whole()
}

// whole waits until all nodes are up and vote, and all copies are in sync.
func (c *cluster) whole() error {
	var s struct {
		State string
		Nodes []struct{ Voter bool }
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(250 * time.Millisecond) {
		if err := c.ask(&s, "cluster", "status"); err != nil || s.State != "healthy" {
			continue
		}
		if !slices.ContainsFunc(s.Nodes, func(n struct{ Voter bool }) bool { return !n.Voter }) {
			return nil
		}
	}
	return fmt.Errorf("%s is %s after two minutes, its nodes: %+v", c.name, s.State, s.Nodes)
}

// loseHead kills the head's process and tells for how long no write ends; then it has all copies come back. The head is not
// at the raft leader, through which the host goes: how long a leader takes to be elected is no matter of the volume.
func (c *cluster) loseHead() (sample, error) {
	var state struct{ Leader string }
	if err := c.ask(&state, "cluster", "status"); err != nil {
		return sample{}, err
	}
	leader, err := c.node(state.Leader)
	if err != nil {
		return sample{}, err
	}
	victim := (leader + 1) % len(c.ips)
	if _, err := c.order(leader, "", "volume", "move-head", "v", nodeName(victim)); err != nil {
		return sample{}, err
	}
	var v struct{ Head string }
	if err := c.ask(&v, "volume", "show", "v"); err != nil || v.Head != nodeName(victim) {
		return sample{}, errors.Join(err, fmt.Errorf("the head of v is %q, and was moved to %s", v.Head, nodeName(victim)))
	}
	pause, err := c.path(leader, c.head.iqn).pauseOf(func() error { return c.b.stop(c.pids[victim]) })
	if err == nil {
		err = c.serve(victim)
	}
	if err == nil {
		err = c.whole()
	}
	us := float64(pause.Microseconds())
	return sample{latency: []float64{us, us, us}, took: pause}, err
}

// pauseOf writes, one block after the other, until some time after an event, and gives the longest time between two writes that
// ended well. The host logs in again where its session is lost: a node drops it where the machine had it stand still.
func (s *server) pauseOf(event func() error) (longest time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	host := initiator.Steady{Dial: func(ctx context.Context) (*initiator.Session, error) {
		return initiator.Dial(ctx, s.address, s.iqn, initiator.Options{ISID: [6]byte{0x00, 0x02, 0x3d, 9, 0, 0}})
	}}
	defer host.Close()
	data := make([]byte, kib4)
	const settles = 200 * time.Millisecond
	happens := make(chan error, 1)
	begin := time.Now()
	for last, n := begin, uint64(0); last.Before(begin.Add(settles + watched)); n++ {
		if n > 0 && event != nil && time.Since(begin) > settles {
			go func(event func() error) { happens <- event() }(event)
			event = nil
		}
		var status *initiator.StatusError
		if err := host.Write(ctx, 0, n*kib4/sector%(smallVolume*mib1/sector), data, sector); errors.As(err, &status) && (status.Status == busy || status.Key == unitAttention) {
			continue // hosts send it again
		} else if err != nil {
			return 0, err
		}
		now := time.Now()
		if n == 0 {
			begin, last = now, now // it was logged in
		}
		longest, last = max(longest, now.Sub(last)), now
	}
	return longest, <-happens
}
