package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

const blockBytes = 4096

// disk knows what a power cut would undo.
type disk struct {
	folder, attic string
	troubles      troubles

	mu      sync.Mutex
	lying   bool
	files   map[uint64]*unsynced // by inode number
	names   []change             // oldest first
	removed int                  // names the files in the attic
}

func newDisk(folder, attic string) *disk {
	return &disk{folder: folder, attic: attic, files: map[uint64]*unsynced{}, troubles: troubles{of: map[string]*trouble{}}}
}

func (d *disk) lie() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lying = true
}

// unsynced is a file that differs from what is on the disk.
type unsynced struct {
	file   *os.File                    // of our own, to undo the differences
	size   int64                       // on the disk
	blocks map[int64]*[blockBytes]byte // on the disk, by number: those that differ; zeros behind the end
}

// differing returns what is known of the differences of the file behind fd; mu is held.
func (d *disk) differing(fd int) (*unsynced, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if u := d.files[st.Ino]; u != nil {
		return u, nil
	}
	own, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	u := &unsynced{own, st.Size, map[int64]*[blockBytes]byte{}}
	d.files[st.Ino] = u
	return u, nil
}

// save keeps the blocks of [from, to) as they are on the disk.
func (u *unsynced) save(from, to int64) error {
	for b := from / blockBytes; b*blockBytes < to; b++ {
		if u.blocks[b] != nil {
			continue
		}
		var old [blockBytes]byte
		if n := min(blockBytes, u.size-b*blockBytes); n > 0 {
			if _, err := u.file.ReadAt(old[:n], b*blockBytes); err != nil && err != io.EOF {
				return err
			}
		}
		u.blocks[b] = &old
	}
	return nil
}

// put notes that data reached the disk in spite of what else differs.
func (u *unsynced) put(data []byte, off int64) {
	u.size = max(u.size, off+int64(len(data)))
	for len(data) > 0 {
		in := off % blockBytes
		n := min(blockBytes-in, int64(len(data)))
		if old := u.blocks[off/blockBytes]; old != nil {
			copy(old[in:], data[:n])
		}
		data, off = data[n:], off+n
	}
}

// write writes to the file behind fd.
func (d *disk) write(fd int, data []byte, off int64, synced bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, err := d.differing(fd)
	if err != nil {
		return 0, err
	}
	if !synced || d.lying {
		if err := u.save(off, off+int64(len(data))); err != nil {
			return 0, err
		}
	}
	n, err := u.file.WriteAt(data, off)
	if synced && !d.lying {
		u.put(data[:n], off)
	}
	return n, err
}

// truncateMost bounds what is kept of a file that is cut short, bytes.
const truncateMost = 64 << 20

// truncate sets the size of the file behind fd.
func (d *disk) truncate(fd int, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, err := d.differing(fd)
	if err != nil {
		return err
	}
	info, err := u.file.Stat()
	if err != nil {
		return err
	}
	if info.Size()-size > truncateMost {
		return syscall.EFBIG
	}
	if err := u.save(size, info.Size()); err != nil {
		return err
	}
	return u.file.Truncate(size)
}

// sync makes the file behind fd safe.
func (d *disk) sync(fd int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || d.lying {
		return err
	}
	if u := d.files[st.Ino]; u != nil {
		delete(d.files, st.Ino)
		return u.file.Close()
	}
	return nil
}

// undo makes the folder what the disk holds. A block for which survives says yes
// has reached the disk by itself. It returns how many blocks and names are lost.
func (d *disk) undo(survives func() bool) (blocks, names int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ino := range sortedKeys(d.files) {
		n, e := d.files[ino].undo(survives)
		blocks, err = blocks+n, errors.Join(err, e)
	}
	names = len(d.names)
	for _, c := range slices.Backward(d.names) {
		err = errors.Join(err, c.undo())
	}
	d.files, d.names, d.lying = map[uint64]*unsynced{}, nil, false
	return blocks, names, err
}

func (u *unsynced) undo(survives func() bool) (lost int, err error) {
	defer u.file.Close()
	size := u.size
	for _, b := range sortedKeys(u.blocks) {
		if survives() {
			continue
		}
		lost++
		if _, err := u.file.WriteAt(u.blocks[b][:], b*blockBytes); err != nil {
			return lost, err
		}
	}
	return lost, u.file.Truncate(size)
}

func sortedKeys[K int64 | uint64, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// grave is a new name in the attic.
func (d *disk) grave() string {
	d.removed++
	return filepath.Join(d.attic, fmt.Sprint(d.removed))
}
