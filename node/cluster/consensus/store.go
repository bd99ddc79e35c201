package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

var (
	logBucket    = []byte("log")    // index, 8 bytes big endian: an entry
	stableBucket = []byte("stable") // raft's term and vote, our address book

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// store is raft's log and stable store in one bbolt file: one transaction per
// call, durable when the call returns.
type store struct{ db *bolt.DB }

// openStore opens or creates the file. A second process on it gets an error after a second.
func openStore(path string) (*store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("consensus: %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(logBucket)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(stableBucket)
		}
		return err
	})
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("consensus: %s: %w", path, err), db.Close())
	}
	return &store{db}, nil
}

// syncFolder makes a new file's name as durable as its content.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *store) Close() error { return s.db.Close() }

// FirstIndex is 0 where there is no entry.
func (s *store) FirstIndex() (uint64, error) { return s.edge((*bolt.Cursor).First) }

// LastIndex is 0 where there is no entry.
func (s *store) LastIndex() (uint64, error) { return s.edge((*bolt.Cursor).Last) }

func (s *store) edge(move func(*bolt.Cursor) (k, v []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if k, _ := move(tx.Bucket(logBucket).Cursor()); k != nil {
			index = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return index, err
}

// GetLog gives raft.ErrLogNotFound where there is none.
func (s *store) GetLog(index uint64, into *raft.Log) error {
	return s.db.View(func(tx *bolt.Tx) error {
		v := tx.Bucket(logBucket).Get(key(index))
		if v == nil {
			return raft.ErrLogNotFound
		}
		return decodeEntry(v, index, into)
	})
}

func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *store) StoreLogs(logs []*raft.Log) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(logBucket)
		for _, l := range logs {
			if err := b.Put(key(l.Index), encodeEntry(l)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange removes the entries from first to last, both included.
func (s *store) DeleteRange(first, last uint64) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		c := tx.Bucket(logBucket).Cursor()
		for k, _ := c.Seek(key(first)); k != nil && binary.BigEndian.Uint64(k) <= last; k, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *store) Set(k, v []byte) error {
	return s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(stableBucket).Put(k, v) })
}

// Get is empty where nothing was set.
func (s *store) Get(k []byte) (v []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		v = bytes.Clone(tx.Bucket(stableBucket).Get(k))
		return nil
	})
	return v, err
}

func (s *store) SetUint64(k []byte, v uint64) error { return s.Set(k, key(v)) }

// GetUint64 is 0 where nothing was set.
func (s *store) GetUint64(k []byte) (uint64, error) {
	v, err := s.Get(k)
	if err != nil || len(v) == 0 {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("consensus: %q is no number", k)
	}
	return binary.BigEndian.Uint64(v), nil
}

func key(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// An entry in the file, big endian:
//
//	+---------+------+---------+-------------------+------------+-----+------+--------+
//	| version | type | term    | appended, ns      | extensions | ... | data | CRC32C |
//	| 1 byte  | 1    | 8 bytes | since 1970, 0: no | length, 4  |     |      | 4      |
//	+---------+------+---------+-------------------+------------+-----+------+--------+
//
// bbolt's pages have no checksums. The CRC covers the index too, so an entry
// in the wrong place is none.
const (
	entryVersion = 1
	entryHeader  = 1 + 1 + 8 + 8 + 4
)

func encodeEntry(l *raft.Log) []byte {
	b := make([]byte, 0, entryHeader+len(l.Extensions)+len(l.Data)+4)
	b = append(b, entryVersion, byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, l.Term)
	var appended int64
	if !l.AppendedAt.IsZero() {
		appended = l.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(appended))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(append(b, l.Extensions...), l.Data...)
	return binary.BigEndian.AppendUint32(b, entryCRC(l.Index, b))
}

func entryCRC(index uint64, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key(index), castagnoli), castagnoli, b)
}

// decodeEntry copies: what bbolt shows is gone with its transaction.
func decodeEntry(b []byte, index uint64, into *raft.Log) error {
	if len(b) < entryHeader+4 {
		return fmt.Errorf("consensus: log entry %d is damaged: %d bytes", index, len(b))
	}
	body := b[:len(b)-4]
	if entryCRC(index, body) != binary.BigEndian.Uint32(b[len(body):]) {
		return fmt.Errorf("consensus: log entry %d is damaged: wrong checksum", index)
	}
	if body[0] != entryVersion {
		return fmt.Errorf("consensus: log entry %d has version %d, this program knows %d", index, body[0], entryVersion)
	}
	extensions := binary.BigEndian.Uint32(body[18:])
	if uint64(extensions) > uint64(len(body)-entryHeader) {
		return fmt.Errorf("consensus: log entry %d is damaged: extensions of %d bytes", index, extensions)
	}
	*into = raft.Log{Index: index, Type: raft.LogType(body[1]), Term: binary.BigEndian.Uint64(body[2:])}
	if ns := int64(binary.BigEndian.Uint64(body[10:])); ns != 0 {
		into.AppendedAt = time.Unix(0, ns)
	}
	rest := body[entryHeader:]
	if extensions > 0 {
		into.Extensions = bytes.Clone(rest[:extensions])
	}
	into.Data = bytes.Clone(rest[extensions:])
	return nil
}
