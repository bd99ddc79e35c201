// Package disktest has devices for tests: one in memory that records what was
// written and flushed, images of what a crash could leave of it, and one with faults.
package disktest

import (
	"errors"
	"os"
	"runtime"
	"sync"

	"ashlar/node/disk"
)

const pageSize = 4096

var errClosed = errors.New("disktest: the device is closed")

// pages is sparse content; what is not there is zeros. Pages are never changed once
// they are in, so images share them.
type pages map[int64]*[pageSize]byte

func (p pages) read(b []byte, off int64) {
	for n := 0; n < len(b); n += pageSize {
		if page := p[off+int64(n)]; page != nil {
			copy(b[n:], page[:])
		} else {
			clear(b[n:][:pageSize])
		}
	}
}

func (p pages) write(b []byte, off int64) {
	for n := 0; n < len(b); n += pageSize {
		page := new([pageSize]byte)
		copy(page[:], b[n:])
		p[off+int64(n)] = page
	}
}

// Memory is a device that forgets everything when the process ends.
type Memory struct {
	mu     sync.Mutex
	size   int64
	below  pages // shared with other images, never written
	data   pages
	trace  *Trace
	closed bool
}

var _ disk.Device = (*Memory)(nil)

// NewMemory is a device of size bytes of zeros.
func NewMemory(size int64) *Memory { return &Memory{size: size, data: pages{}} }

func (m *Memory) ReadAt(b []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, errClosed
	}
	m.check(b, off)
	for n := 0; n < len(b); n += pageSize {
		at := off + int64(n)
		if page, have := m.data[at]; have {
			copy(b[n:], page[:])
		} else {
			m.below.read(b[n:][:pageSize], at)
		}
	}
	return len(b), nil
}

func (m *Memory) check(b []byte, off int64) {
	if off < 0 || off+int64(len(b)) > m.size || off%pageSize != 0 || len(b)%pageSize != 0 {
		panic("disktest: outside the device, or not aligned")
	}
}

func (m *Memory) WriteAt(b []byte, off int64) (int, error)      { return m.write(b, off, false) }
func (m *Memory) WriteThrough(b []byte, off int64) (int, error) { return m.write(b, off, true) }

func (m *Memory) write(b []byte, off int64, through bool) (int, error) {
	m.check(b, off)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return 0, errClosed
	}
	trace := m.trace
	m.mu.Unlock()
	id := trace.begin(b, off, through)
	if trace != nil {
		runtime.Gosched() // so that others are in flight with it
	}
	m.mu.Lock()
	m.data.write(b, off)
	m.mu.Unlock()
	trace.end(id)
	return len(b), nil
}

func (m *Memory) Sync() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return errClosed
	}
	trace := m.trace
	m.mu.Unlock()
	trace.sync()
	return nil
}

func (m *Memory) Size() int64 { return m.size }

// Close makes every later call fail. The content stays for Again.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// Again is the same device after it was closed, as a new process finds it.
func (m *Memory) Again() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{size: m.size, below: m.below, data: m.data}
}

// Flip inverts one bit of the byte at off, as decay does.
func (m *Memory) Flip(off int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := off &^ (pageSize - 1)
	b := make([]byte, pageSize)
	m.below.read(b, at)
	if page := m.data[at]; page != nil {
		copy(b, page[:])
	}
	b[off-at] ^= 1
	m.data.write(b, at)
}

// Save writes the content to a new file, sparsely.
func (m *Memory) Save(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(m.size); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, content := range []pages{m.below, m.data} {
		for at, page := range content {
			if _, err := f.WriteAt(page[:], at); err != nil {
				return err
			}
		}
	}
	return nil
}

// Offsets is where the content is not all zeros, in units of 4,096 bytes, in order.
func (m *Memory) Offsets() (list []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	zeros := [pageSize]byte{}
	for at := int64(0); at < m.size; at += pageSize {
		page, have := m.data[at]
		if !have {
			page = m.below[at]
		}
		if page != nil && *page != zeros {
			list = append(list, at)
		}
	}
	return list
}
