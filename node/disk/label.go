package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"ashlar/target/pages"
)

// A label is what the layer above keeps on a disk about the whole cluster. It lies in one of two slots,
// and a new one goes to the other: its data first, then a sync, then its header, which fits in one
// sector. Hence a crash leaves the old label or the new one. A header with other data behind it was
// whole once and has decayed, unless the other slot has a newer label: then a crash cut its successor off.
const (
	labelMagic  = 0x4c485341 // "ASHL"
	labelHeader = 64

	minLabelRoom = 1 << 20
	maxLabelRoom = 16 << 20
	labelPiece   = 1 << 20 // bytes of one device write
)

// labelRoom is the longest label of a device of size bytes: 1/64 of it, 1 MiB to 16 MiB.
func labelRoom(size int64) int64 {
	return roundUp(min(max(size/64, minLabelRoom), maxLabelRoom), blockSize)
}

// label is one slot's content.
type label struct {
	number uint64 // one higher than the one before; its slot is number mod 2
	data   []byte
}

// labels is what both slots say.
type labels struct {
	newest label
	whole  bool   // newest has its data
	last   uint64 // highest number in any header
	err    error  // why newest may not be the last that was set
}

// marshal fills one block of zeros: magic, CRC, format, length, nonce, number, CRC of the data.
func (l *label) marshal(b []byte, nonce [16]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], labelMagic)
	le.PutUint32(b[8:], FormatVersion)
	le.PutUint32(b[12:], uint32(len(l.data)))
	copy(b[16:], nonce[:])
	le.PutUint64(b[32:], l.number)
	le.PutUint32(b[40:], crc32.Checksum(l.data, castagnoli))
	le.PutUint32(b[4:], crc32.Checksum(b[8:labelHeader], castagnoli))
}

// unmarshal decodes a header: the length of the data, bytes, and its CRC.
func (l *label) unmarshal(b []byte, nonce [16]byte) (length int64, sum uint32, ok bool) {
	le := binary.LittleEndian
	if le.Uint32(b) != labelMagic || [16]byte(b[16:32]) != nonce || crc32.Checksum(b[8:labelHeader], castagnoli) != le.Uint32(b[4:]) {
		return 0, 0, false
	}
	l.number = le.Uint64(b[32:])
	return int64(le.Uint32(b[12:])), le.Uint32(b[40:]), true
}

func (g *geometry) labelAt(number uint64) int64 { return g.label + int64(number%2)*g.labelSlot }

// loadLabels reads both slots.
func loadLabels(dev Device, g *geometry, nonce [16]byte) labels {
	var out labels
	var found [2]bool
	var headers [2]label
	for i := range headers {
		l, whole, err := readLabel(dev, g, nonce, uint64(i))
		if err != nil {
			out.err = err
			continue
		}
		headers[i], found[i] = l, true
		out.last = max(out.last, l.number)
		if whole && (!out.whole || out.newest.number < l.number) {
			out.newest, out.whole = l, true
		}
	}
	if found[0] && found[1] && out.newest.number < out.last {
		out.err = fmt.Errorf("%w: the data of label %d", ErrDamaged, out.last)
	}
	if !out.whole {
		out.err = errors.Join(out.err, fmt.Errorf("%w: no label is whole", ErrDamaged))
	}
	return out
}

// readLabel reads a slot; whole says whether its data is what its header says.
func readLabel(dev Device, g *geometry, nonce [16]byte, slot uint64) (l label, whole bool, err error) {
	at := g.labelAt(slot)
	b := pages.Make(blockSize)
	if _, err := dev.ReadAt(b, at); err != nil {
		return l, false, fmt.Errorf("%w: label header: %w", ErrDamaged, err)
	}
	length, sum, ok := l.unmarshal(b, nonce)
	if !ok || l.number%2 != slot || length > g.labelSlot-blockSize {
		return l, false, fmt.Errorf("%w: label header %d", ErrDamaged, slot)
	}
	data := pages.Make(int(roundUp(length, blockSize)))
	if _, err := dev.ReadAt(data, at+blockSize); err != nil || crc32.Checksum(data[:length], castagnoli) != sum {
		return l, false, nil
	}
	l.data = data[:length]
	return l, true, nil
}

// writeLabel puts l where no whole label lies.
func writeLabel(dev Device, g *geometry, nonce [16]byte, l *label) error {
	at := g.labelAt(l.number)
	data := pages.Make(int(roundUp(int64(len(l.data)), blockSize)))
	copy(data, l.data)
	for done := 0; done < len(data); done += labelPiece {
		part := data[done:min(done+labelPiece, len(data))]
		if _, err := dev.WriteAt(part, at+blockSize+int64(done)); err != nil {
			return err
		}
	}
	if len(data) > 0 {
		if err := dev.Sync(); err != nil {
			return err
		}
	}
	header := pages.Make(blockSize)
	l.marshal(header, nonce)
	_, err := dev.WriteThrough(header, at)
	return err
}

// next is the number of the label that follows: it goes to the slot that does not hold the newest.
func (l *labels) next() uint64 {
	n := l.last + 1
	if l.whole && n%2 == l.newest.number%2 {
		n++
	}
	return n
}

// LabelMax is the length of the longest label, bytes: 1/64 of the disk, 1 MiB to 16 MiB.
func (s *Store) LabelMax() int { return int(s.labelSlot - blockSize) }

// Label returns what SetLabel stored last; nothing if it never did. With ErrDamaged comes
// what it stored before that, or nothing: the last label, or perhaps only where it lay, has decayed.
func (s *Store) Label() ([]byte, error) {
	s.labeling.Lock()
	defer s.labeling.Unlock()
	return slices.Clone(s.labels.newest.data), s.labels.err
}

// SetLabel replaces the label: opaque bytes that the layer above keeps to know the cluster from its disks
// alone. It is durable on return; a crash before leaves the old one or the new one, whole. To set what is
// set costs nothing. ErrNoSpace: longer than LabelMax. ErrClosed, ErrFailed.
func (s *Store) SetLabel(data []byte) error {
	s.labeling.Lock()
	defer s.labeling.Unlock()
	s.mu.Lock()
	err := s.refuses()
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case len(data) > s.LabelMax():
		return fmt.Errorf("%w: a label of %d bytes, at most %d fit", ErrNoSpace, len(data), s.LabelMax())
	case s.labels.err == nil && bytes.Equal(data, s.labels.newest.data):
		return nil
	}
	l := label{s.labels.next(), slices.Clone(data)}
	if err := writeLabel(s.dev, &s.geometry, s.id.Nonce, &l); err != nil {
		s.fail(fmt.Errorf("label: %w", err))
		return s.Err()
	}
	s.labels = labels{newest: l, whole: true, last: l.number}
	return nil
}
