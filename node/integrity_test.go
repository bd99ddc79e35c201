package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/node/engine"
	"ashlar/replication/scrub"
	"ashlar/replication/wire"
)

// known is what a test writes to a 4 KiB block: found again in the file of a disk.
func known(block uint64) []byte {
	var b []byte
	for i := 0; len(b) < wire.BlockSize; i++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte{byte(i)}, block))
		b = append(b, sum[:]...)
	}
	return b[:wire.BlockSize]
}

// flip changes a bit of a block wherever a disk's file has it.
func flip(t *testing.T, path string, block uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	text, err := os.ReadFile(path)
	must(t, err)
	found := false
	for at := 0; ; {
		i := bytes.Index(text[at:], known(block))
		if i < 0 {
			break
		}
		_, err := f.WriteAt([]byte{text[at+i] ^ 1}, int64(at+i))
		must(t, err)
		found, at = true, at+i+1
	}
	if !found {
		t.Fatalf("%s does not have block %d", path, block)
	}
}

// TestBadBlocksAreRepairedAndCountedAndTheThirdEjectsTheDisk, and no data is lost: on
// another disk there is a copy of all of it in the end.
func TestBadBlocksAreRepairedAndCountedAndTheThirdEjectsTheDisk(t *testing.T) {
	t.Parallel()
	nodes := newThreeWith(t, 128<<20)
	const host = "iqn.2026-11.com.example:web"
	must(t, nodes[0].AddHost(limit(t), "web", host))
	createVolume(t, nodes[0], "v", 2*segmentBytes, 2)
	must(t, nodes[0].Publish(limit(t), "v", "web", false))
	must(t, nodes[0].Set(limit(t), cluster.Settings{RebuildAfterDisk: 1}))
	v := state(t, nodes[0]).VolumeNamed("v")
	head := int(v.Head) - 1
	other := -1 // the node with the other copy of segment 0
	for _, r := range v.Segments[0].Replicas {
		if int(r.Node)-1 != head {
			other = int(r.Node) - 1
		}
	}
	s := steady(t, nodes[head], "web", state(t, nodes[0]).IQN(v))
	for b := range uint64(16) {
		must(t, s.Write(limit(t), 0, b*8, known(b), 512))
	}
	n := nodes[other]
	var disk *cluster.Disk
	for _, d := range state(t, n).Disks {
		if d.Node == state(t, n).NodeNamed(n.Config().Name).ID {
			disk = d
		}
	}
	asker := nodes[3-head-other]

	before, err := asker.Verify(limit(t), "v")
	must(t, err)
	if !before.Equal() || before.Root == nil || before.Blocks != 16 || before.Copies != 4 {
		t.Fatalf("at first: %+v", before)
	}
	for round, block := range []uint64{3, 5, 7} {
		must(t, n.Close())
		flip(t, disk.Path, block)
		n = open(t, n.Config())
		nodes[other] = n
		eventually(t, "all copies are in sync", func() bool {
			for _, g := range state(t, asker).VolumeNamed("v").Segments {
				if len(g.InSync()) != 2 {
					return false
				}
			}
			return n.Ready()
		})
		var found engine.Verification
		eventually(t, "all copies are compared", func() bool { // one that is back may be out once more on a busy machine
			found, err = asker.Verify(limit(t), "v")
			return err == nil && found.Copies == before.Copies
		})
		if found.Counts.Differing != 1 || found.Counts.Mended != 0 || len(found.Differences) != 1 || found.Root != nil {
			t.Fatalf("block %d: %+v", block, found)
		}
		fixed, err := asker.Repair(limit(t), "v")
		must(t, err)
		if fixed.Counts.Differing != 1 || fixed.Counts.Mended != 1 || !fixed.Equal() || len(fixed.Repaired) != 1 || *fixed.Root != *before.Root {
			t.Fatalf("block %d: %+v", block, fixed)
		}
		eventually(t, "it is counted", func() bool { return state(t, asker).Disks[disk.ID].BadEver == uint64(round)+1 })
		if d := state(t, asker).Disks[disk.ID]; d.BadLately(time.Now().UnixMilli()) != round+1 || round < 2 && (d.Worn || d.Failed) {
			t.Fatalf("after %d bad blocks: %+v", round+1, d)
		}
	}
	eventually(t, "the disk is ejected", func() bool { return state(t, asker).Disks[disk.ID].Ejected })
	eventually(t, "nothing is written to it any more", func() bool {
		e := n.service.Load().engine.Load()
		return e != nil && e.Store(disk.ID) != nil && e.Store(disk.ID).Err() != nil
	})
	eventually(t, "there are copies elsewhere", func() bool {
		for _, g := range state(t, asker).VolumeNamed("v").Segments {
			for _, r := range g.Replicas {
				if !r.InSync || r.Disk == disk.ID {
					return false
				}
			}
		}
		return true
	})
	after, err := asker.Verify(limit(t), "v")
	must(t, err)
	if !after.Equal() || *after.Root != *before.Root {
		t.Errorf("after the ejection: %+v", after)
	}
	got := make([]byte, wire.BlockSize)
	for b := range uint64(16) {
		must(t, s.Read(limit(t), 0, b*8, got, 512))
		if !bytes.Equal(got, known(b)) {
			t.Errorf("block %d differs", b)
		}
	}
}

// TestAScrubRepairsWhatNobodyReads by itself, once it is due: a light one what is old on the head's own disk, though its
// checksum is good; and a deep one, which alone reads data, a block that has decayed under the right version.
func TestAScrubRepairsWhatNobodyReads(t *testing.T) {
	t.Parallel()
	nodes := newThreeWith(t, 128<<20)
	const host = "iqn.2026-11.com.example:web"
	must(t, nodes[0].AddHost(limit(t), "web", host))
	createVolume(t, nodes[0], "v", segmentBytes, 2)
	must(t, nodes[0].Publish(limit(t), "v", "web", false))
	v := state(t, nodes[0]).VolumeNamed("v")
	head := int(v.Head) - 1
	other := int(v.Segments[0].Replicas[0].Node) - 1
	if other == head {
		other = int(v.Segments[0].Replicas[1].Node) - 1
	}
	s := steady(t, nodes[head], "web", state(t, nodes[0]).IQN(v))
	must(t, s.Write(limit(t), 0, 8*scrub.LeafBlocks, known(1), 512)) // the data of a leaf that differs is read by a light one too
	must(t, s.Write(limit(t), 0, 8, known(2), 512))
	worn := state(t, nodes[0]).Disks[v.Segments[0].On(wire.NodeID(other+1)).Disk]
	must(t, nodes[other].Close())
	flip(t, worn.Path, 1)
	nodes[other] = open(t, nodes[other].Config())
	eventually(t, "both copies are in sync", func() bool {
		return nodes[other].Ready() && len(state(t, nodes[head]).VolumeNamed("v").Segments[0].InSync()) == 2
	})
	storeNewer(t, nodes[other], worn.ID, 1, known(3))
	scrubs := func() cluster.Scrubs {
		if k := state(t, nodes[head]).VolumeNamed("v").Scrubs; k != nil {
			return *k
		}
		return cluster.Scrubs{}
	}
	must(t, nodes[head].Set(limit(t), cluster.Settings{ScrubLight: 1}))
	got := make([]byte, wire.BlockSize)
	eventually(t, "the head's own copy has what only the other one had", func() bool {
		must(t, s.Read(limit(t), 0, 8, got, 512))
		return bytes.Equal(got, known(3))
	})
	eventually(t, "a light scrub has gone round", func() bool { return scrubs().Light.Ended > 0 })
	if d := state(t, nodes[head]).Disks[worn.ID]; d.BadEver != 0 || scrubs().Deep.Ended != 0 {
		t.Fatalf("before a deep scrub: %+v, %+v", d, scrubs())
	}
	must(t, nodes[head].Set(limit(t), cluster.Settings{ScrubDeep: 1}))
	eventually(t, "a deep scrub has found what decayed", func() bool { return state(t, nodes[head]).Disks[worn.ID].BadEver == 1 })
	eventually(t, "and mended it", func() bool {
		found, err := nodes[head].Verify(limit(t), "v")
		return err == nil && found.Equal() && found.Counts.Differing == 0
	})
}

// storeNewer has a disk hold a later write of a block of the first segment, which no other copy has.
func storeNewer(t *testing.T, n *Node, id cluster.DiskID, block uint32, data []byte) {
	t.Helper()
	store := n.service.Load().engine.Load().Store(id)
	r := store.Replicas()[0].Replica
	now, err := store.Written(r, block, 1)
	must(t, err)
	done := make(chan error, 1)
	store.Write(&disk.Write{Replica: r, Block: block, Count: 1, Version: wire.Version{Epoch: now[0].Version.Epoch, Seq: now[0].Version.Seq + 1},
		CRC: []uint32{wire.BlockCRC(r.Volume, r.Segment, block, data)}, Data: bytes.Clone(data), Done: func(w *disk.Write) { done <- w.Err }})
	must(t, <-done)
}
