//go:build faults

package faults

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// A pool that is full refuses writes with the sense that says so (SBC-3 4.7.3.6:
// DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT), keeps what it has
// acknowledged, and takes writes again where there is room.
func TestAFullPoolSaysSoAndKeepsWhatItHas(t *testing.T) {
	c := clusters.New(t, clusters.Plan{DiskSize: "64M"})
	v := c.Publish("v", "256M", 3)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := initiator.Dial(ctx, c.NotHead("v").Portals()[0], v.IQN, initiator.Options{Name: clusters.HostIQN})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := oneBlock(ctx, s, opRead); err != nil { // takes the unit attention
		t.Fatal(err)
	}
	const piece = 256 << 10
	data := make([]byte, piece)
	written := 0
	for ; written < 256<<20; written += piece {
		fillPiece(data, written)
		err = s.Write(ctx, 0, uint64(written/512), data, 512)
		var status *initiator.StatusError
		if errors.As(err, &status) && status.Status == statusBusy {
			continue
		}
		if err != nil {
			break
		}
	}
	const dataProtect, spaceAllocationFailed = 7, 0x2707
	var status *initiator.StatusError
	if !errors.As(err, &status) || status.Key != dataProtect || status.Code != spaceAllocationFailed || written < 16<<20 {
		t.Fatalf("after %d MiB of what must fit into less than 64: %v", written>>20, err)
	}
	for at := 0; at < written; at += piece {
		want, got := make([]byte, piece), make([]byte, piece)
		fillPiece(want, at)
		if err := s.Read(ctx, 0, uint64(at/512), got, 512); err != nil || string(got) != string(want) {
			t.Fatalf("what was acknowledged at %d MiB: %v", at>>20, err)
		}
	}
	fillPiece(data, 1)
	if err := s.Write(ctx, 0, 0, data, 512); err != nil {
		t.Errorf("a write over what is there: %v", err)
	}
	c.Verify("v")
	t.Logf("full after %d MiB of 64", written>>20)
}

func fillPiece(p []byte, seed int) {
	x := uint64(seed)*0x9E3779B97F4A7C15 + 1
	for i := range p {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p[i] = byte(x)
	}
}

// Two disks in each other's place, one of a later release, and one that is no
// disk: the node says which it misses, changes nothing of them, and goes on when
// they are right again.
func TestANodeTakesNoOtherDiskForItsOwn(t *testing.T) {
	c := clusters.New(t, clusters.Plan{})
	v := c.Publish("v", "48M", 2)
	load := clusters.NewLoad(t, v.IQN, 48<<20, c.Nodes...)
	load.Start()
	load.AwaitWrites(200, time.Minute)
	load.Stop(time.Minute)
	n1, n2 := c.Nodes[0], c.Nodes[1]
	for _, w := range []struct {
		name       string
		wrong, fix func()
	}{
		{"two disks in each other's place", func() { swap(t, n1.Disk(), n2.Disk()) }, func() { swap(t, n1.Disk(), n2.Disk()) }},
		{"disks of a later release", func() { renumber(t, n1.Disk(), 1); renumber(t, n2.Disk(), 1) }, func() { renumber(t, n1.Disk(), -1); renumber(t, n2.Disk(), -1) }},
		{"files that are no disks", func() { hide(t, n1.Disk()); hide(t, n2.Disk()) }, func() { unhide(t, n1.Disk()); unhide(t, n2.Disk()) }},
	} {
		n1.Kill()
		n2.Kill()
		w.wrong()
		before := [2][32]byte{sum(t, n1.Disk()), sum(t, n2.Disk())}
		for _, n := range []*clusters.Node{n1, n2} {
			said := len(n.LogLines("a disk cannot be opened"))
			n.Start()
			n.AwaitReady()
			c.Eventually(10*time.Second, n.Name+" misses its disk: "+w.name, func() bool {
				for _, d := range clusters.Document[[]api.Disk](n, "disk", "list") {
					if d.Node == n.Name && d.State == "missing" {
						return len(n.LogLines("a disk cannot be opened")) > said
					}
				}
				return false
			})
		}
		n1.Kill()
		n2.Kill()
		if before != [2][32]byte{sum(t, n1.Disk()), sum(t, n2.Disk())} {
			t.Errorf("%s: they were changed", w.name)
		}
		w.fix()
		n1.Start()
		n2.Start()
		c.AwaitInSync("v", time.Minute)
		load.ExpectAll()
	}
	c.Verify("v")
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	third := a + ".third"
	if err := errors.Join(os.Rename(a, third), os.Rename(b, a), os.Rename(third, b)); err != nil {
		t.Fatal(err)
	}
}

func hide(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Rename(path, path+".hidden"), os.WriteFile(path, []byte("a diary"), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func unhide(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(path+".hidden", path); err != nil {
		t.Fatal(err)
	}
}

// sum is of a disk's data, without its holes.
func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	const seekData, seekHole = 3, 4 // lseek(2)
	for at := int64(0); ; {
		from, err := f.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return [32]byte(h.Sum(nil))
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, err = f.Seek(from, seekHole); err != nil {
			t.Fatal(err)
		}
		io.Copy(h, io.NewSectionReader(f, from, at-from))
	}
}

// renumber changes the format version that a disk's superblocks tell
// (node/disk/layout.go: magic, CRC-32C of what follows it, version).
func renumber(t *testing.T, path string, by int32) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	const block, edge = 4096, 128 << 10
	found := 0
	for _, from := range []int64{0, info.Size() - edge} {
		for at := from; at < from+edge; at += block {
			b := make([]byte, block)
			if _, err := f.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			if string(b[:8]) != "AshlarSB" {
				continue
			}
			binary.LittleEndian.PutUint32(b[12:], binary.LittleEndian.Uint32(b[12:])+uint32(by))
			binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], crc32.MakeTable(crc32.Castagnoli)))
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
			found++
		}
	}
	if found != 4 {
		t.Fatalf("%d superblocks, want 4", found)
	}
}
