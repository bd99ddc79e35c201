package targettest

import (
	"bytes"
	"testing"

	"ashlar/target"
)

// kept is memory that an operation was Kept with, and what nobody may have changed in it.
type kept struct{ memory, content []byte }

// Keep has every operation that Lends end Kept from now on: what a read has read is in memory that is given away.
func (m *memory) Keep() { m.keeps.Store(true) }

// Kept is how much memory was kept, and whether somebody else has changed any of it.
func (m *memory) Kept() (pieces int, intact bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kept {
		if !bytes.Equal(k.memory, k.content) {
			return len(m.kept), false
		}
	}
	return len(m.kept), true
}

// keep is before an operation ends.
func (m *memory) keep(op *target.Op) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content := bytes.Clone(op.Data)
	if op.Kind == target.Read {
		op.Data, content = content, op.Data
		for i := range content {
			content[i] = 0xEE
		}
		m.kept = append(m.kept, kept{content, bytes.Clone(content)})
	} else {
		m.kept = append(m.kept, kept{op.Data, content})
	}
	op.Kept = true
}

// MemoryIsKept writes and reads through a carrier, at byte offsets, while the device keeps what it is lent: that is never another
// command's, and what was read is sent from where it is.
func MemoryIsKept(t *testing.T, m *Memory, write, read func(at int, b []byte) error) {
	t.Helper()
	m.Keep()
	n := 0
	for _, size := range []int{512, 4096, 64 << 10, 1 << 20} {
		for i := range 8 {
			want, got := bytes.Repeat([]byte{byte(n + 1)}, size), make([]byte, size)
			if err := write(i*size, want); err != nil {
				t.Fatal(err)
			}
			if err := read(i*size, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes at %d are not what was written", size, i*size)
			}
			n += 2
		}
	}
	if pieces, intact := m.Kept(); pieces != n || !intact {
		t.Errorf("of %d commands the device has the memory of %d; it has not changed: %v", n, pieces, intact)
	}
}
