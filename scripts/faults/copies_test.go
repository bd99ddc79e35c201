//go:build faults

package faults

import (
	"context"
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// atOnce is how many of the tests with clusters of their own addresses run beside
// each other: they mostly wait.
const atOnce = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	clusters.Main(m)
}

const volumeBytes = 16 << 20 // one segment

func TestAllNodesDieAtOnceAndReturn(t *testing.T) {
	c := clusters.New(t, clusters.Plan{})
	v := c.Publish("v", "48M", 2)
	load := clusters.NewLoad(t, v.IQN, 48<<20, c.Nodes...)
	load.Start()
	load.AwaitWrites(300, time.Minute)
	c.KillAll()
	load.Abandon()
	for _, n := range c.Nodes {
		n.Start()
	}
	c.AwaitInSync("v", time.Minute)
	load.ExpectAll()
	c.Verify("v")
}

// With the copies of a segment gone one after the other, the last one stays
// listed; nothing is answered until it is back, and then all is there.
func TestWithoutAnyCopyHostsWaitAndNothingIsLost(t *testing.T) {
	c := clusters.New(t, clusters.Plan{})
	v := c.Publish("v", "16M", 2)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(200, time.Minute)
	first, last, witness := holders(t, c)
	first.Kill()
	c.Eventually(20*time.Second, "only the copy on "+last.Name+" is in sync", func() bool {
		return slices.Equal(inSync(c), []string{last.Name})
	})
	load.AwaitWrites(200, time.Minute) // which only the last copy has
	last.Kill()
	load.Abandon()

	// One of three nodes runs: nobody may act, and it says not now.
	expectNoAnswer(t, witness, v.IQN)
	// With the other holder there is a majority, but what it holds is old.
	first.Start()
	first.AwaitReady()
	witness.AwaitReady()
	for _, n := range []*clusters.Node{witness, first} {
		expectBusy(t, n, v.IQN)
	}
	if got := inSync(c); !slices.Equal(got, []string{last.Name}) {
		t.Fatalf("in sync: %v, want only %s, which is gone", got, last.Name)
	}
	last.Start()
	c.AwaitInSync("v", time.Minute)
	load.ExpectAll()
	load.Start()
	load.AwaitWrites(100, time.Minute)
	load.Stop(time.Minute)
	load.ExpectAll()
	c.Verify("v")
}

// holders are the nodes with the two copies of the only segment, the head first,
// and the one without.
func holders(t *testing.T, c *clusters.Cluster) (first, last, witness *clusters.Node) {
	t.Helper()
	head := c.Head("v")
	names := replicas(c, func(api.Replica) bool { return true })
	for _, n := range c.Nodes {
		switch {
		case n == head:
			first = n
		case slices.Contains(names, n.Name):
			last = n
		default:
			witness = n
		}
	}
	if first == nil || last == nil || witness == nil || len(names) != 2 {
		t.Fatalf("copies on %v, head %s", names, head.Name)
	}
	return first, last, witness
}

func inSync(c *clusters.Cluster) []string {
	return replicas(c, func(r api.Replica) bool { return r.InSync })
}

func replicas(c *clusters.Cluster, wanted func(api.Replica) bool) (names []string) {
	v, _ := c.Show("v")
	for _, s := range v.Placement {
		for _, r := range s.Replicas {
			if wanted(r) {
				names = append(names, r.Node)
			}
		}
	}
	return names
}

const statusBusy = 0x08 // SAM-5 5.3.1

// expectBusy reads and writes, and wants to be told to wait, within the 4 s that
// a command is held and some.
func expectBusy(t *testing.T, n *clusters.Node, target string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	s, err := initiator.Dial(ctx, n.Portals()[0], target, initiator.Options{Name: clusters.HostIQN})
	if err != nil {
		t.Fatalf("login at %s: %v", n.Name, err)
	}
	defer s.Close()
	for name, opcode := range map[string]byte{"read": opRead, "write": opWrite} {
		begin := time.Now()
		status, err := oneBlock(ctx, s, opcode)
		if took := time.Since(begin); err != nil || status != statusBusy || took > 5*time.Second {
			t.Errorf("%s at %s without a copy: status %#x, %v after %v; want BUSY within 5 s", name, n.Name, status, err, took)
		}
	}
}

// Opcodes of SBC-3, 5.15 and 5.40.
const (
	opRead  = 0x88
	opWrite = 0x8a
)

// oneBlock reads or writes the first block and returns the status, behind the
// unit attention that a new session has.
func oneBlock(ctx context.Context, s *initiator.Session, opcode byte) (status byte, err error) {
	for {
		c := &initiator.Command{CDB: initiator.CDB16(opcode, 0, clusters.BlockBytes/512)}
		if data := make([]byte, clusters.BlockBytes); opcode == opWrite {
			c.Out = data
		} else {
			c.In = data
		}
		err := s.Do(ctx, c)
		const unitAttention = 6
		if key, _ := c.SenseCode(); c.Err == nil && key == unitAttention {
			continue
		}
		var answer *initiator.StatusError
		if errors.As(err, &answer) {
			err = nil
		}
		return c.Status, err
	}
}

// expectNoAnswer wants a node that has no lease to refuse to log in, or to say BUSY.
func expectNoAnswer(t *testing.T, n *clusters.Node, target string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	s, err := initiator.Dial(ctx, n.Portals()[0], target, initiator.Options{Name: clusters.HostIQN})
	if err != nil {
		return
	}
	defer s.Close()
	if status, err := oneBlock(ctx, s, opRead); err == nil && status != statusBusy {
		t.Errorf("a read at %s, which is alone: status %#x", n.Name, status)
	}
}
