package targettest

import (
	"bytes"

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
