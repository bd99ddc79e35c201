package disk

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"ashlar/replication/wire"
)

var update = flag.Bool("update", false, "write the golden files anew: only with a new format version")

var goldenNonce = [16]byte{0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func goldenRecord() (*record, []byte) {
	r := Replica{Volume: 0x1122334455667788, Segment: 0x99aabbcc}
	data := bytes.Repeat([]byte("ashlar: "), 2*blockSize/8)
	sums := make([]uint32, 2)
	for i := range sums {
		sums[i] = wire.BlockCRC(r.Volume, r.Segment, 7+uint32(i), data[i*blockSize:][:blockSize])
	}
	return &record{seq: 5, at: 3 * blockSize, data: data, entries: []*entry{
		{kind: entryCreate, instance: 3, Replica: r},
		{kind: entryWrite, instance: 3, Replica: r, block: 7, count: 2, version: Version{Epoch: 4, Seq: 5}, crcs: sums, places: []uint32{0x33}},
		{kind: entryWrite, past: true, instance: 3, Replica: r, block: 32, count: 32, version: Version{Epoch: 4, Seq: 6}, crcs: make([]uint32, 32), places: []uint32{0x44}},
		{kind: entryWrite, zero: true, instance: 3, Replica: r, block: 9, count: 2, versions: []Version{{Epoch: 1, Seq: 2}, {Epoch: 1, Seq: 3}}},
		{kind: entryPromise, Replica: Replica{Volume: 6}, version: Version{Epoch: 9}},
		{kind: entryCommit, instance: 3, Replica: r, version: Version{Epoch: 4, Seq: 4}},
		{kind: entryReset, instance: 3, Replica: r, version: Version{Seq: 4}},
		{kind: entryRemove, instance: 4, Replica: r, version: Version{Seq: 5}},
	}}, make([]byte, blockSize)
}

func goldenControl() *control {
	return &control{number: 8, tail: 4096, nextSeq: 5, nextInstance: 4, pagesEnd: 77,
		replicas: []controlReplica{{Replica{1, 2}, 3, Version{Epoch: 4, Seq: 5}, 6, 7, true}}, promises: []promise{{8, 9}}}
}

func goldenPage() *page {
	p := &page{instance: 3, group: 2, checkpoint: 8, place: [4]uint32{9, noChunk, 11, noChunk}, mapped: [4]uint32{0xf0, 0, 1, 0}, bad: blockBits{0, 1 << 7, 0, 2}}
	p.version[4], p.crc[4] = Version{Epoch: 1, Seq: 2}, 0x01020304
	p.version[127] = Version{Epoch: 3, Seq: 4}
	return p
}

// The bytes on disks are what earlier releases wrote.
func TestFormatIsThatOfTheGoldenFiles(t *testing.T) {
	r, header := goldenRecord()
	r.marshalHeader(header, goldenNonce)
	golden(t, "record", header)
	decoded := new(record)
	if err := decoded.unmarshal(header, r.data); err != nil || !reflect.DeepEqual(decoded, r) {
		t.Errorf("record decodes to %+v, %v", decoded, err)
	}

	c := goldenControl()
	b := c.marshal(goldenNonce)
	golden(t, "control", b)
	if got, err := decodeControl(b[:controlHeader+replicaRow+promiseRow]); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("control slot decodes to %+v, %v", got, err)
	}

	p, b := goldenPage(), make([]byte, blockSize)
	p.marshal(b, goldenNonce)
	golden(t, "page", b)
	got := new(page)
	if err := got.unmarshal(b, goldenNonce); err != nil || *got != *p {
		t.Errorf("page decodes to %+v, %v", got, err)
	}

	l, b := label{number: 6, data: []byte("all about the cluster")}, make([]byte, blockSize)
	l.marshal(b, goldenNonce)
	golden(t, "label", b)
	var again label
	if length, sum, ok := again.unmarshal(b, goldenNonce); !ok || again.number != 6 || length != 21 || sum != crc32.Checksum(l.data, castagnoli) {
		t.Errorf("label decodes to %+v, %d bytes", again, length)
	}

	g, err := plan(1<<30, 0, 1<<18)
	if err != nil {
		t.Fatal(err)
	}
	s := superblock{Identity{[16]byte{1}, [16]byte{2}, 1 << 18, goldenNonce}, g}
	golden(t, "superblock", s.marshal())
	var back superblock
	if err := back.unmarshal(s.marshal()); err != nil || back != s {
		t.Errorf("superblock decodes to %+v, %v", back, err)
	}
}

// golden compares b, without the zeros at its end, with a file.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	got := []byte(hex.Dump(bytes.TrimRight(b, "\x00")))
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as in %s:\n%s", name, path, got)
	}
}

// Areas never overlap and fill no more than the device, whatever its size.
func TestPlanKeepsTheAreasApart(t *testing.T) {
	for size := int64(minDevice); size < 1<<45; size += size/3 + 4097 {
		for _, segmentBlocks := range []uint32{320, 1 << 18, 1 << 20} {
			g, err := plan(size, 0, segmentBlocks)
			if err != nil {
				if size > 256<<20 {
					t.Errorf("%d bytes, %d blocks: %v", size, segmentBlocks, err)
				}
				continue
			}
			if g.control+4*g.controlSlot > g.label || g.label+2*g.labelSlot > g.journal || g.journal+g.journalSize > g.pages ||
				g.pages+int64(g.pageSlots)*blockSize > g.chunks || g.chunks+int64(g.chunkCount)*chunkBytes > g.size-edge {
				t.Errorf("%d bytes: areas overlap: %+v", size, g)
			}
			if used := int64(g.chunkCount) * chunkBytes; size > 4<<30 && used < size/10*8 {
				t.Errorf("%d bytes: only %d for data", size, used)
			}
			if (segmentBlocks+groupBlocks-1)/groupBlocks > g.spareSlots {
				t.Errorf("%d bytes: a write of a whole segment does not fit a checkpoint", size)
			}
		}
	}
}

func TestHashOfAPageTellsItsGroupAndChecksum(t *testing.T) {
	for i := range uint32(100) {
		group, sum := i*40503, i*2654435761
		if g, s := pageOfHash(pageHash(group, sum)); g != group || s != sum {
			t.Errorf("group %d CRC %x becomes %d, %x", group, sum, g, s)
		}
	}
}

// An entry that decodes encodes to what it was decoded from.
func FuzzEntry(f *testing.F) {
	r, _ := goldenRecord()
	for _, e := range r.entries {
		f.Add(e.marshal(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again entry
		rest, err := e.unmarshal(b)
		if err != nil {
			return
		}
		encoded := e.marshal(nil)
		if len(encoded) != e.size() || len(encoded) != len(b)-len(rest) {
			t.Fatalf("%d bytes, size says %d", len(encoded), e.size())
		}
		if _, err := again.unmarshal(encoded); err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v becomes %+v, %v", e, again, err)
		}
	})
}

func TestAnotherFormatIsRefused(t *testing.T) {
	g, err := plan(1<<30, 0, 1<<18)
	if err != nil {
		t.Fatal(err)
	}
	s := superblock{Identity{}, g}
	b := s.marshal()
	for format, want := range map[byte]error{FormatVersion - 1: ErrTooOld, FormatVersion: nil, FormatVersion + 1: ErrTooNew} {
		b[12] = format
		sealSuperblock(b)
		if err := new(superblock).unmarshal(b); !errors.Is(err, want) {
			t.Errorf("format %d: %v", format, err)
		}
	}
}
