package disk

import (
	"errors"
	"fmt"
)

var (
	// ErrNoStore: the device carries no store of ours.
	ErrNoStore = errors.New("disk: the device carries no Ashlar store")
	// ErrTooNew: a later release wrote the store.
	ErrTooNew = errors.New("disk: the store was written by a later release")
	// ErrTooOld: an earlier release wrote the store, in a format that this one does not read.
	ErrTooOld = errors.New("disk: the store was written by an earlier release, in another format")
	// ErrDamaged: what must be whole is not, and no write in flight at a crash explains it.
	ErrDamaged = errors.New("disk: damaged")
	// ErrWrongDisk: a whole store, of another cluster or another disk.
	ErrWrongDisk = errors.New("disk: the store belongs to another cluster or disk")
	// ErrInUse: the device carries a store already, or a process has it open.
	ErrInUse = errors.New("disk: the device is in use")
	// ErrTooSmall: below the minimum size.
	ErrTooSmall = errors.New("disk: the device is too small")
	// ErrNoSpace: no chunk, metadata page or table row is free. Nothing was applied. Zero writes never need any.
	ErrNoSpace = errors.New("disk: no space left")
	// ErrVersion: the disk holds a newer version of a block. Nothing was applied.
	ErrVersion = errors.New("disk: a newer version of the block is stored")
	// ErrFailed: a write or flush of the device failed, which ended the store.
	ErrFailed = errors.New("disk: the disk has failed")
	// ErrRetired: Retire ended the store.
	ErrRetired = errors.New("disk: the cluster has ejected the disk")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("disk: the store is closed")
	// ErrNoReplica: the disk holds no such replica.
	ErrNoReplica = errors.New("disk: no such replica")
	// ErrExists: the disk holds that replica already.
	ErrExists = errors.New("disk: the replica exists")
	// ErrRange: the blocks lie outside the segment, or the slices have the wrong length.
	ErrRange = errors.New("disk: outside the segment, or malformed")
)

// ChecksumError names the blocks of a segment whose data does not match its CRC, is lost, or cannot be
// read while others can. A read that ends with it has filled all other blocks.
type ChecksumError struct {
	Replica
	Blocks []uint32 // 4 KiB blocks in the segment
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("disk: volume %d segment %d: %d blocks do not match their checksum, first %d",
		e.Volume, e.Segment, len(e.Blocks), e.Blocks[0])
}
