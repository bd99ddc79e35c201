package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"ashlar/target/targettest/initiator"
)

// counter is a host's process that counts in block 0 by COMPARE AND WRITE, as
// cluster file systems take their locks.
type counter struct {
	*testing.T
	s     *initiator.Session
	value uint64 // as last seen
	good  uint64
	busy  uint64
}

// swap asks for value+1 where value is. A host repeats a command that is told to
// wait, and so does this.
func (c *counter) swap() (done bool) {
	cdb := make([]byte, 16)
	cdb[0], cdb[13] = 0x89, 1
	out := make([]byte, 1024)
	binary.BigEndian.PutUint64(out, c.value)
	binary.BigEndian.PutUint64(out[512:], c.value+1)
	for {
		err := c.s.Do(limit(c.T), &initiator.Command{CDB: cdb, Out: out})
		var status *initiator.StatusError
		switch {
		case err == nil:
			return true
		case !errors.As(err, &status):
			c.Errorf("compare and write: %v", err)
			return false
		case status.Key == 0xE:
			return false
		case status.Status == 0x08:
			c.busy++
		case status.Key != 6:
			c.Errorf("compare and write: %v", err)
			return false
		}
	}
}

func (c *counter) look() {
	b := make([]byte, 512)
	for {
		err := c.s.Read(limit(c.T), 0, 0, b, 512)
		var status *initiator.StatusError
		if err == nil {
			c.value = binary.BigEndian.Uint64(b)
			return
		}
		if !errors.As(err, &status) || status.Status != 0x08 && status.Key != 6 {
			c.Errorf("read: %v", err)
			return
		}
	}
}

// TestCompareAndWritesAreCountedOnceWhileTheHeadMoves, and when its node is gone:
// what two processes were told to have done is what is there. They are of two hosts,
// or of one, whose commands nothing tells apart but the path.
func TestCompareAndWritesAreCountedOnceWhileTheHeadMoves(t *testing.T) {
	for _, hosts := range [][2]string{{"web", "app"}, {"web", "web"}} {
		t.Run(hosts[0]+" and "+hosts[1], func(t *testing.T) {
			t.Parallel()
			nodes := newThree(t)
			createVolume(t, nodes[0], "db", 4<<20, 3)
			s := state(t, nodes[0])
			var counters []*counter
			for i, name := range hosts {
				if i == 0 || name != hosts[0] {
					must(t, nodes[0].AddHost(limit(t), name, "iqn.2026-11.com.example:"+name))
					must(t, nodes[0].Publish(limit(t), "db", name, false))
				}
				p, err := login(t, nodes[i], name, s.IQN(s.VolumeNamed("db")))
				must(t, err)
				ready(t, p)
				counters = append(counters, &counter{T: t, s: p})
			}
			eventually(t, "there are three voters", func() bool { return len(state(t, nodes[1]).Voters()) == 3 })
			countDuring(t, counters, func(progress *atomic.Int64) {
				for i := range 7 {
					at := progress.Load()
					moveHead(t, nodes[0], "db", fmt.Sprintf("node%d", (i+1)%3+1))
					eventually(t, "they count", func() bool { return progress.Load() >= at+10 })
				}
				moveHead(t, nodes[0], "db", "node3")
				at := progress.Load()
				must(t, nodes[2].Close())
				eventually(t, "they count without node 3", func() bool { return progress.Load() >= at+40 })
			})
		})
	}
}

// countDuring lets them count while something happens.
func countDuring(t *testing.T, counters []*counter, happen func(progress *atomic.Int64)) {
	t.Helper()
	var stop atomic.Bool
	var progress atomic.Int64
	ended := make(chan struct{}, len(counters))
	for _, c := range counters {
		go func() {
			defer func() { ended <- struct{}{} }()
			for !stop.Load() && !t.Failed() {
				if c.look(); c.swap() {
					c.good++
					progress.Add(1)
				}
			}
		}()
	}
	happen(&progress)
	stop.Store(true)
	var sum, busy uint64
	for range counters {
		<-ended
	}
	for _, c := range counters {
		sum, busy = sum+c.good, busy+c.busy
	}
	counters[0].look()
	t.Logf("%d swaps were done, %d answers were to wait", sum, busy)
	if got := counters[0].value; got != sum {
		t.Errorf("the counter is %d after %d swaps", got, sum)
	}
}
