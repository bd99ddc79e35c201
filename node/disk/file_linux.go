package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"

	"ashlar/target/pages"
)

// File is a Device on a block device or a regular file. It bypasses the page
// cache (O_DIRECT) where the file system can, because a failed write-back of
// a cached page is reported to nobody.
type File struct {
	data    *os.File // O_DIRECT
	durable *os.File // O_DIRECT | O_DSYNC
	size    int64
	direct  bool
	bounce  sync.Pool // *[]byte, aligned, bounceBytes long
	async   *queue    // nil: there is none
}

const bounceBytes = 1 << 20

// OpenFile opens an existing block device or file for one process alone:
// ErrInUse if another holds it (a mounted file system, or another node).
func OpenFile(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	flags := os.O_RDWR
	if info.Mode()&os.ModeDevice != 0 {
		flags |= os.O_EXCL // open(2): EBUSY for a block device that the system uses
	}
	f := new(File)
	err = f.open(path, flags)
	if errors.Is(err, syscall.EBUSY) {
		return nil, fmt.Errorf("%w: %s is mounted or held by the system", ErrInUse, path)
	}
	if err != nil {
		return nil, err
	}
	if err := f.claim(path); err != nil {
		f.data.Close()
		return nil, err
	}
	return f, nil
}

// openForReading opens what may be in use. The file cannot be written.
func openForReading(path string) (*File, error) {
	f := new(File)
	if err := f.open(path, os.O_RDONLY); err != nil {
		return nil, err
	}
	if err := f.measure(); err != nil {
		f.data.Close()
		return nil, err
	}
	return f, nil
}

// open opens the half that reads, past the page cache if that can be.
func (f *File) open(path string, flags int) (err error) {
	f.direct = true
	f.bounce.New = func() any { b := pages.Make(bounceBytes); return &b }
	f.data, err = os.OpenFile(path, flags|syscall.O_DIRECT, 0)
	if errors.Is(err, syscall.EINVAL) {
		f.direct = false
		f.data, err = os.OpenFile(path, flags, 0)
	}
	return err
}

func (f *File) measure() (err error) {
	f.size, err = f.data.Seek(0, io.SeekEnd)
	f.size &^= blockSize - 1
	return err
}

// isHeld says whether a process has the file open with OpenFile. An OpenFile at this very moment may fail.
func (f *File) isHeld() bool {
	if syscall.Flock(int(f.data.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil {
		return true
	}
	syscall.Flock(int(f.data.Fd()), syscall.LOCK_UN)
	return false
}

// claim locks the file, opens its durable half and learns its size.
func (f *File) claim(path string) (err error) {
	if err := syscall.Flock(int(f.data.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%w: another process has %s open (%v)", ErrInUse, path, err)
	}
	if err := f.measure(); err != nil {
		return err
	}
	flags := os.O_RDWR | syscall.O_DSYNC
	if f.direct {
		flags |= syscall.O_DIRECT
	}
	f.durable, err = os.OpenFile(path, flags, 0)
	if err == nil && f.direct {
		f.async, _ = newQueue(asyncWrites)
	}
	return err
}

// asyncWrites is how many asynchronous writes the kernel has room for.
const asyncWrites = 64

// Direct says whether the page cache is bypassed.
func (f *File) Direct() bool { return f.direct }

func (f *File) Size() int64 { return f.size }

func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.aligned(p, func(at int, buffer, p []byte) error {
		if _, err := f.data.ReadAt(buffer, off+int64(at)); err != nil {
			return err
		}
		copy(p, buffer)
		return nil
	}, func() (int, error) { return f.data.ReadAt(p, off) })
}

func (f *File) WriteAt(p []byte, off int64) (int, error)      { return f.write(f.data, p, off) }
func (f *File) WriteThrough(p []byte, off int64) (int, error) { return f.write(f.durable, p, off) }

// writeEach is WriteAt of all pieces, in any order, so many at once.
func (f *File) writeEach(pieces []piece, atOnce int) error {
	if f.async == nil || slices.ContainsFunc(pieces, piece.unaligned) {
		return writeSideBySide(f.WriteAt, pieces, atOnce)
	}
	return f.async.write(f.data, pieces, atOnce)
}

func (f *File) write(file *os.File, p []byte, off int64) (int, error) {
	return f.aligned(p, func(at int, buffer, p []byte) error {
		copy(buffer, p)
		_, err := file.WriteAt(buffer, off+int64(at))
		return err
	}, func() (int, error) { return file.WriteAt(p, off) })
}

// aligned runs whole when p can go to the device as it is, else each piece by
// piece through an aligned buffer.
func (f *File) aligned(p []byte, piece func(at int, buffer, p []byte) error, whole func() (int, error)) (int, error) {
	if !f.direct || pages.Aligned(p) {
		return whole()
	}
	buffer := f.bounce.Get().(*[]byte)
	defer f.bounce.Put(buffer)
	for at := 0; at < len(p); at += bounceBytes {
		part := p[at:min(at+bounceBytes, len(p))]
		if err := piece(at, (*buffer)[:len(part)], part); err != nil {
			return at, err
		}
	}
	return len(p), nil
}

func (f *File) Sync() error {
	for {
		err := syscall.Fdatasync(int(f.data.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func (f *File) Close() error {
	if f.async != nil {
		f.async.close()
	}
	if f.durable == nil {
		return f.data.Close()
	}
	return errors.Join(f.durable.Close(), f.data.Close())
}
