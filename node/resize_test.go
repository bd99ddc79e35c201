package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"ashlar/node/cluster"
	"ashlar/target/targettest/initiator"
)

// Unit attentions, as additional sense codes (SPC-4 annex D).
const (
	capacityChanged  = 0x2A09
	accessChanged    = 0x2A06
	inventoryChanged = 0x3F0E
)

const webIQN = "iqn.2026-11.com.example:web"

// attention is the unit attention that a session's next command meets, 0 for none.
func attention(t *testing.T, s *initiator.Session, lun uint64) uint16 {
	t.Helper()
	err := s.Do(limit(t), &initiator.Command{LUN: lun, CDB: make([]byte, 6)}) // TEST UNIT READY
	var status *initiator.StatusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status) && status.Key == 6: // UNIT ATTENTION
		return status.Code
	}
	t.Fatal(err)
	return 0
}

// expectAttentions waits for one, and expects that just those follow each other.
func expectAttentions(t *testing.T, what string, s *initiator.Session, lun uint64, want ...uint16) {
	t.Helper()
	var got []uint16
	eventually(t, fmt.Sprintf("%s is told %04x", what, want), func() bool {
		if a := attention(t, s, lun); a != 0 {
			got = append(got, a)
		}
		return len(got) >= len(want)
	})
	if a := attention(t, s, lun); a != 0 {
		got = append(got, a)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s is told %04x instead of %04x", what, got, want)
	}
}

// capacity is READ CAPACITY(16): bytes. 0: it met a unit attention.
func capacity(t *testing.T, s *initiator.Session) uint64 {
	t.Helper()
	in := make([]byte, 32)
	cdb := make([]byte, 16)
	cdb[0], cdb[1], cdb[13] = 0x9E, 0x10, 32
	var status *initiator.StatusError
	if err := s.Do(limit(t), &initiator.Command{CDB: cdb, In: in}); errors.As(err, &status) && status.Key == 6 {
		return 0
	} else {
		must(t, err)
	}
	return (binary.BigEndian.Uint64(in) + 1) * uint64(binary.BigEndian.Uint32(in[8:]))
}

// threePaths are a host's sessions to a new volume through each node.
func threePaths(t *testing.T, nodes []*Node, size uint64, copies int) (paths []*initiator.Session) {
	t.Helper()
	createVolume(t, nodes[0], "db", size, copies)
	must(t, nodes[0].AddHost(limit(t), "web", webIQN))
	must(t, nodes[0].Publish(limit(t), "db", "web", false))
	s := state(t, nodes[0])
	for _, n := range nodes {
		p, err := login(t, n, "web", s.IQN(s.VolumeNamed("db")))
		must(t, err)
		ready(t, p)
		paths = append(paths, p)
	}
	return paths
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7+i>>9) ^ seed
	}
	return b
}

func TestAVolumeGrowsUnderItsHosts(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	const before, after = 6 << 20, 14<<20 + 4096
	paths := threePaths(t, nodes, before, 2)
	old := pattern(1<<20, 1)
	must(t, paths[0].Write(limit(t), 0, (before-1<<20)/512, old, 512))
	refused := pattern(4096, 9)
	var status *initiator.StatusError
	if err := paths[1].Write(limit(t), 0, before/512, refused, 512); !errors.As(err, &status) || status.Code != 0x2100 {
		t.Fatalf("a write beyond the end: %v", err)
	}

	must(t, nodes[1].ResizeVolume(limit(t), "db", after))
	for i, p := range paths {
		what := fmt.Sprintf("the path to node%d", i+1)
		expectAttentions(t, what, p, 0, capacityChanged)
		if got := capacity(t, p); got != after {
			t.Errorf("%s has %d bytes", what, got)
		}
	}
	zeros, got := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := uint64(before); at < after; at += 1 << 20 {
		got := got[:min(1<<20, after-at)]
		must(t, paths[2].Read(limit(t), 0, at/512, got, 512))
		if !bytes.Equal(got, zeros[:len(got)]) {
			t.Errorf("what is new at %d is not zeros", at)
		}
	}
	for i, p := range paths { // over the old end, a border of segments, and up to the new end
		for k, at := range []uint64{before - 4096, 8<<20 - 512<<10, after - 1<<20} {
			data := pattern(1<<20, byte(16*i+k+2))
			must(t, p.Write(limit(t), 0, at/512, data, 512))
			must(t, paths[(i+1)%3].Read(limit(t), 0, at/512, got, 512))
			if !bytes.Equal(got, data) {
				t.Errorf("what node%d wrote at %d is read otherwise through another", i+1, at)
			}
		}
	}
	must(t, paths[1].Read(limit(t), 0, (before-1<<20)/512, got[:1<<20-4096], 512))
	if !bytes.Equal(got[:1<<20-4096], old[:1<<20-4096]) {
		t.Error("what was there before is not there now")
	}
	var p *Problem
	if err := nodes[2].ResizeVolume(limit(t), "db", before); !errors.As(err, &p) || p.Code != cluster.Refused {
		t.Errorf("shrinking: %v", err)
	}
	for i, p := range paths {
		if a := attention(t, p, 0); a != 0 {
			t.Errorf("node%d tells %04x of what was refused", i+1, a)
		}
	}
	equalCopies(t, nodes[0], "db")
}

// awaitCapacity waits until a path was told of a new size, and shows it.
func awaitCapacity(t *testing.T, s *initiator.Session, want uint64) {
	t.Helper()
	told := false
	eventually(t, "the path shows its new size", func() bool {
		a := attention(t, s, 0)
		told = told || a == capacityChanged
		return told && a == 0 && capacity(t, s) == want
	})
}

// insist does it again while it meets unit attentions, as hosts do.
func insist(t *testing.T, do func() error) {
	t.Helper()
	for {
		err := do()
		if status := (*initiator.StatusError)(nil); !errors.As(err, &status) || status.Key != 6 {
			must(t, err)
			return
		}
	}
}

func equalCopies(t *testing.T, n *Node, volume string) {
	t.Helper()
	found, err := n.Verify(limit(t), volume)
	must(t, err)
	if len(found.Differences) > 0 || found.Copies != copiesOf(state(t, n), volume) {
		t.Errorf("the copies of %s: %+v", volume, found)
	}
}

func copiesOf(s *cluster.State, volume string) (n int) {
	for _, g := range s.VolumeNamed(volume).Segments {
		n += len(g.Replicas)
	}
	return n
}

// TestAVolumeGrowsWhileItsHeadMoves: writes to what is new are held over the
// move, whichever of the two a node hears of first.
func TestAVolumeGrowsWhileItsHeadMoves(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	paths := threePaths(t, nodes, 4<<20, 3)
	size := uint64(4 << 20)
	for round := range 6 {
		grown := size + 3<<20
		moved := make(chan error, 1)
		head := state(t, nodes[0]).VolumeNamed("db").Head
		go func() {
			moved <- nodes[round%3].MoveHead(limit(t), "db", fmt.Sprintf("node%d", head%3+1))
		}()
		must(t, nodes[(round+1)%3].ResizeVolume(limit(t), "db", grown))
		must(t, <-moved)
		for _, p := range paths {
			awaitCapacity(t, p, grown)
		}
		for i, p := range paths {
			data, got := pattern(64<<10, byte(round*3+i)), make([]byte, 64<<10)
			at := size + uint64(i)<<20
			insist(t, func() error { return p.Write(limit(t), 0, at/512, data, 512) })
			insist(t, func() error { return paths[(i+1)%3].Read(limit(t), 0, at/512, got, 512) })
			if !bytes.Equal(got, data) {
				t.Errorf("round %d: the data at %d differs", round, at)
			}
		}
		size = grown
	}
	equalCopies(t, nodes[0], "db")
}
