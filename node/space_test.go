package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"ashlar/node/cluster"
	"ashlar/node/events"
	"ashlar/target/targettest/initiator"
)

// unmap gives a range back (SBC-3 5.28), in blocks of 512 bytes.
func unmap(t *testing.T, s *initiator.Session, lba uint64, blocks uint32) {
	t.Helper()
	out := make([]byte, 24)
	binary.BigEndian.PutUint16(out, 22)
	binary.BigEndian.PutUint16(out[2:], 16)
	binary.BigEndian.PutUint64(out[8:], lba)
	binary.BigEndian.PutUint32(out[16:], blocks)
	must(t, s.Do(limit(t), &initiator.Command{CDB: []byte{0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0}, Out: out}))
}

// used is what all disks hold, as a node hears of them.
func used(t *testing.T, n *Node, disks int) (bytes int64) {
	t.Helper()
	space, err := n.Space(limit(t))
	must(t, err)
	if len(space) != disks {
		t.Fatalf("%d disks are heard of", len(space))
	}
	for _, s := range space {
		bytes += s.Used
		if s.Used+s.Free != s.Capacity || s.Capacity == 0 {
			t.Errorf("%+v", s)
		}
	}
	return bytes
}

// TestWhatHostsUnmapIsFreeAtOnce on every copy, where it fills whole chunks of
// 128 KiB; and what is smaller is, once its neighbours are unmapped as well.
func TestWhatHostsUnmapIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	host := threePaths(t, nodes, 32<<20, 2)[2]
	if n := used(t, nodes[0], 3); n != 0 {
		t.Errorf("%d bytes are used before the first write", n)
	}
	data := pattern(1<<20, 1)
	for at := uint64(0); at < 8<<20; at += 1 << 20 {
		must(t, host.Write(limit(t), 0, at/512, data, 512))
	}
	if n := used(t, nodes[1], 3); n != 2*8<<20 {
		t.Errorf("%d bytes are used after 8 MiB were written", n)
	}
	unmap(t, host, 0, 4<<20/512)
	if n := used(t, nodes[2], 3); n != 2*4<<20 {
		t.Errorf("%d bytes are used after 4 MiB were unmapped", n)
	}
	unmap(t, host, 4<<20/512, 64<<10/512)
	if n := used(t, nodes[2], 3); n != 2*4<<20 {
		t.Errorf("%d bytes are used after half of a chunk was unmapped", n)
	}
	unmap(t, host, 4<<20/512+64<<10/512, 64<<10/512)
	if n := used(t, nodes[2], 3); n != 2*(4<<20-128<<10) {
		t.Errorf("%d bytes are used after a chunk was unmapped in halves", n)
	}
	unmap(t, host, 0, 32<<20/512)
	if n := used(t, nodes[0], 3); n != 0 {
		t.Errorf("%d bytes are used after all was unmapped", n)
	}
	equalCopies(t, nodes[0], "db")
}

// TestAFullPoolRefusesWritesAndNothingElse: no copy leaves its set, what is there
// can be read and written over, and what is unmapped makes room again.
func TestAFullPoolRefusesWritesAndNothingElse(t *testing.T) {
	t.Parallel()
	nodes := newThreeWith(t, 64<<20)
	host := threePaths(t, nodes, 256<<20, 3)[1]
	const piece = 1 << 20
	full := uint64(0)
	var err error
	for ; err == nil && full < 256; full++ {
		err = host.Write(limit(t), 0, full*piece/512, pattern(piece, byte(full)), 512)
	}
	full--                                               // the first that has no room
	const dataProtect, spaceAllocationFailed = 7, 0x2707 // SBC-3 4.7.3.6
	var status *initiator.StatusError
	if !errors.As(err, &status) || status.Key != dataProtect || status.Code != spaceAllocationFailed || full < 16 {
		t.Fatalf("after %d MiB on disks of 64: %v", full, err)
	}
	for _, g := range state(t, nodes[0]).VolumeNamed("db").Segments {
		if len(g.InSync()) != 3 {
			t.Errorf("in sync are only %v", g.InSync())
		}
	}
	got := make([]byte, piece)
	for i := range full {
		must(t, host.Read(limit(t), 0, i*piece/512, got, 512))
		if !bytes.Equal(got, pattern(piece, byte(i))) {
			t.Errorf("what was acknowledged at %d MiB differs", i)
		}
	}
	must(t, host.Write(limit(t), 0, 0, pattern(piece, 77), 512))
	unmap(t, host, piece/512, 4*piece/512)
	must(t, host.Write(limit(t), 0, 200*piece/512, pattern(piece, 78), 512))
	equalCopies(t, nodes[0], "db")
	eventually(t, "all nodes tell of the full pool", func() bool {
		return !slices.ContainsFunc(nodes, func(n *Node) bool {
			told, err := n.Events(nil, 1000)
			must(t, err)
			return !slices.ContainsFunc(told.Events, func(e events.Event) bool { return e.Kind == events.PoolFilling && e.Warning })
		})
	})
}

func TestADiskWhoseNodeIsGoneIsNotHeardOf(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	must(t, nodes[2].Close())
	eventually(t, "only two disks are heard of", func() bool {
		space, err := nodes[0].Space(limit(t))
		must(t, err)
		var gone []cluster.DiskID
		for id, d := range state(t, nodes[0]).Disks {
			if _, heard := space[id]; !heard {
				gone = append(gone, id)
				if d.Node != 3 {
					t.Errorf("the disk of node %d is not heard of", d.Node)
				}
			}
		}
		return len(gone) == 1
	})
}
