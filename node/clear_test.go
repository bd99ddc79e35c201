package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

// manage asks for a task management function, which is proven in time.
func manage(t *testing.T, s *initiator.Session, fn session.TaskFunction) {
	t.Helper()
	began := time.Now()
	r, err := s.Manage(limit(t), uint8(fn), 0, 0)
	must(t, err)
	if d := time.Since(began); session.TaskResponse(r) != session.FunctionComplete || d >= 4*time.Second {
		t.Fatalf("function %d: %d after %v", fn, r, d)
	}
}

// burst is writes that are under way at once, and what became of each.
type burst struct {
	ended chan *initiator.Command
	n     int
}

func begin(s *initiator.Session, n int, fill byte) *burst {
	b := &burst{ended: make(chan *initiator.Command, n), n: n}
	for i := range n {
		s.Submit(&initiator.Command{CDB: initiator.CDB16(0x8A, uint64(i*8), 8), Out: bytes.Repeat([]byte{fill}, 4096),
			Done: func(c *initiator.Command) { b.ended <- c }})
	}
	return b
}

// results are which blocks' writes were told to come again, and the unit
// attentions that others met.
func (b *burst) results(t *testing.T) (busy []int, told []uint16) {
	t.Helper()
	end := time.After(20 * time.Second)
	for range b.n {
		var c *initiator.Command
		select {
		case c = <-b.ended:
		case <-end:
			t.Fatal("a write is never answered")
		}
		err := c.Result()
		var status *initiator.StatusError
		switch {
		case err == nil:
		case !errors.As(err, &status):
			t.Fatal(err)
		case status.Status == 0x08:
			busy = append(busy, int(binary.BigEndian.Uint64(c.CDB[2:]))/8)
		case status.Key == 6:
			told = append(told, status.Code)
		default:
			t.Fatal(err)
		}
	}
	return busy, told
}

// TestATaskSetIsClearedThroughEveryNode: the writes that come in through another node
// end, and their host is told why. None of them is written later.
func TestATaskSetIsClearedThroughEveryNode(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	paths := threePaths(t, nodes, 4<<20, 3)
	moveHead(t, nodes[0], "db", "node3")
	const accessState = 0x2A06
	for _, p := range paths {
		expectAttentions(t, "a path", p, 0, accessState)
	}
	const writes = 64
	ended := 0
	for round := 0; ended == 0; round++ {
		if round == 50 {
			t.Fatal("no write was ever under way")
		}
		b := begin(paths[1], writes, byte(round+1))
		manage(t, paths[0], session.ClearTaskSet)
		before := snapshot(t, paths[2], writes)
		busy, told := b.results(t)
		ended += len(busy)
		if a := attention(t, paths[1], 0); a != 0 {
			told = append(told, a)
		}
		if len(busy) > 0 && !slices.Equal(told, []uint16{0x2F00}) || slices.ContainsFunc(told, func(a uint16) bool { return a != 0x2F00 }) {
			t.Errorf("%d writes ended, and their host was told %04x", len(busy), told)
		}
		after := snapshot(t, paths[2], writes)
		for _, i := range busy {
			if !bytes.Equal(before[i*4096:][:4096], after[i*4096:][:4096]) {
				t.Errorf("block %d was written after the task set was cleared", i)
			}
		}
		for _, i := range []int{0, 2} {
			expectAttentions(t, "a host that lost nothing", paths[i], 0)
		}
	}
	manage(t, paths[0], session.LogicalUnitReset)
	for _, p := range paths {
		expectAttentions(t, "a host", p, 0, 0x2903)
	}
	equalCopies(t, nodes[0], "db")
}

func snapshot(t *testing.T, s *initiator.Session, blocks int) []byte {
	t.Helper()
	b := make([]byte, blocks*4096)
	must(t, s.Read(limit(t), 0, 0, b, 512))
	return b
}
