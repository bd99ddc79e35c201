package node

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ashlar/node/cluster"

	"golang.org/x/sys/unix"
)

// provide makes sure that there is something at path that can be a disk: it
// makes a file where there is none and a size is given, and says whether it did.
func provide(path string, size uint64) (made bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && size == 0:
		return false, problem(cluster.NotFound, "there is no %s", path).next("--size makes a file, of that size")
	case errors.Is(err, fs.ErrNotExist):
		return true, makeFile(path, size)
	case err != nil:
		return false, problem(BadDisk, "%v", err)
	case info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		if size != 0 {
			return false, problem(cluster.Invalid, "%s is a block device and has its own size: leave --size out", path)
		}
	case !info.Mode().IsRegular():
		return false, problem(BadDisk, "%s is neither a block device nor a file", path)
	case size != 0 && uint64(info.Size()) != size:
		return false, problem(cluster.Exists, "%s is there already, with %d bytes: leave --size out", path, info.Size())
	}
	return false, nil
}

// makeFile reserves all of its space, so that a disk is never full before its size says so.
func makeFile(path string, size uint64) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return problem(BadDisk, "%v", err).next("the folder %s must exist and be writable", filepath.Dir(path))
	}
	defer func() {
		if f.Close(); err != nil {
			os.Remove(path)
		}
	}()
	if size > 1<<62 {
		return problem(cluster.Invalid, "no file has %d bytes", size)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, int64(size))
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = f.Truncate(int64(size))
	}
	if err == nil {
		err = errors.Join(f.Sync(), syncFolder(filepath.Dir(path)))
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EFBIG):
		return problem(cluster.Full, "there is no room for %d bytes at %s", size, path)
	case err != nil:
		return problem(BadDisk, "%s: %v", path, err)
	}
	return nil
}

const (
	peekBytes = 1 << 20   // at both ends of a block device: where file systems, partition tables and volume managers put their marks
	dataMax   = 256 << 20 // of a file's data that is looked through: more is not blank
)

// blank refuses a device or file that holds data which nobody asked to overwrite.
func blank(path string) error {
	full, err := HoldsData(path)
	switch {
	case err != nil:
		return diskProblem(path, err)
	case full:
		return problem(BadDisk, "%s holds data that is not Ashlar's", path).next("--force overwrites what is on it")
	}
	return nil
}

// HoldsData says whether something is on a block device, as far as its ends tell, or in a
// file: a byte that is not zero.
func HoldsData(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	size, err := DeviceBytes(path)
	if err != nil {
		return false, err
	}
	ranges := [][2]int64{{0, min(peekBytes, int64(size))}, {max(0, int64(size)-peekBytes), int64(size)}}
	if info.Mode().IsRegular() {
		if ranges, err = dataOf(path); err != nil {
			return false, err
		}
	}
	left := int64(dataMax)
	for _, r := range ranges {
		if left -= r[1] - r[0]; left < 0 {
			return true, nil
		}
		if zero, err := isZero(path, r[0], r[1]); err != nil || !zero {
			return !zero && err == nil, err
		}
	}
	return false, nil
}

// DeviceBytes is the size of a block device or a file.
func DeviceBytes(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.Seek(0, io.SeekEnd)
	return uint64(n), err
}

// dataOf are the ranges [from, to) of a file that are not holes (lseek(2), SEEK_DATA).
func dataOf(path string) (ranges [][2]int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for at := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return ranges, nil
		}
		if err != nil {
			return nil, err
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, [2]int64{from, to})
		at = to
	}
}

func isZero(path string, from, to int64) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	zeros, buffer := make([]byte, peekBytes), make([]byte, peekBytes)
	for from < to {
		n, err := f.ReadAt(buffer[:min(peekBytes, to-from)], from)
		if n == 0 && err != nil {
			return err == io.EOF, ignoreEOF(err)
		}
		if !bytes.Equal(buffer[:n], zeros[:n]) {
			return false, nil
		}
		from += int64(n)
	}
	return true, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
