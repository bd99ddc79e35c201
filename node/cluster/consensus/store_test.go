package consensus

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

func openTestStore(t *testing.T, path string) *store {
	t.Helper()
	s, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func entry(index uint64) *raft.Log {
	return &raft.Log{Index: index, Term: 7, Type: raft.LogCommand, Data: bytes.Repeat([]byte{byte(index)}, int(index))}
}

func edges(t *testing.T, s raft.LogStore, first, last uint64) {
	t.Helper()
	a, err1 := s.FirstIndex()
	b, err2 := s.LastIndex()
	if a != first || b != last || err1 != nil || err2 != nil {
		t.Fatalf("from %d (%v) to %d (%v), not %d to %d", a, err1, b, err2, first, last)
	}
}

func TestStoreKeepsWhatRaftKeeps(t *testing.T) {
	s := openTestStore(t, filepath.Join(t.TempDir(), "raft.db"))
	edges(t, s, 0, 0)
	var got raft.Log
	if err := s.GetLog(1, &got); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatal(err)
	}
	full := &raft.Log{Index: 1, Term: 1 << 40, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: []byte("more"),
		AppendedAt: time.Unix(1700000000, 123456789)}
	if err := s.StoreLogs([]*raft.Log{full, entry(2), entry(3), {Index: 4, Type: raft.LogNoop, Data: []byte{}}}); err != nil {
		t.Fatal(err)
	}
	edges(t, s, 1, 4)
	if err := s.GetLog(1, &got); err != nil || !cmp.Equal(got, *full) {
		t.Fatal(cmp.Diff(got, *full), err)
	}
	// An entry is replaced after a change of leader.
	other := entry(3)
	other.Term = 8
	if err := s.StoreLog(other); err != nil {
		t.Fatal(err)
	}
	if err := s.GetLog(3, &got); err != nil || got.Term != 8 {
		t.Fatal(got, err)
	}
	// A gap, as after an installed snapshot, and indexes whose bytes sort.
	if err := s.StoreLogs([]*raft.Log{entry(255), entry(256), entry(257)}); err != nil {
		t.Fatal(err)
	}
	edges(t, s, 1, 257)
	for _, cut := range []struct{ from, to, first, last uint64 }{
		{1, 2, 3, 257}, {257, 1000, 3, 256}, {5, 254, 3, 256}, {0, 255, 256, 256}, {256, 256, 0, 0},
	} {
		if err := s.DeleteRange(cut.from, cut.to); err != nil {
			t.Fatal(err)
		}
		edges(t, s, cut.first, cut.last)
	}
	if v, err := s.Get([]byte("vote")); len(v) != 0 || err != nil {
		t.Fatal(v, err)
	}
	if v, err := s.GetUint64([]byte("term")); v != 0 || err != nil {
		t.Fatal(v, err)
	}
	if err := errors.Join(s.Set([]byte("vote"), []byte("2")), s.SetUint64([]byte("term"), 1<<63)); err != nil {
		t.Fatal(err)
	}
	vote, _ := s.Get([]byte("vote"))
	if term, err := s.GetUint64([]byte("term")); string(vote) != "2" || term != 1<<63 || err != nil {
		t.Fatal(vote, term, err)
	}
}

// A killed process leaves the file as it is at that moment.
func TestStoreAfterACrash(t *testing.T) {
	folder := t.TempDir()
	s := openTestStore(t, filepath.Join(folder, "raft.db"))
	if err := errors.Join(s.StoreLogs([]*raft.Log{entry(1), entry(2)}), s.SetUint64([]byte("term"), 9)); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(filepath.Join(folder, "raft.db")); err == nil {
		t.Fatal("two processes have one store")
	}
	image, err := os.ReadFile(filepath.Join(folder, "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "crashed.db"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	crashed := openTestStore(t, filepath.Join(folder, "crashed.db"))
	edges(t, crashed, 1, 2)
	if term, err := crashed.GetUint64([]byte("term")); term != 9 || err != nil {
		t.Fatal(term, err)
	}
}

func TestDamagedEntriesAreNotBelieved(t *testing.T) {
	s := openTestStore(t, filepath.Join(t.TempDir(), "raft.db"))
	good := encodeEntry(entry(5))
	var got raft.Log
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		for _, damaged := range [][]byte{bad, good[:i]} {
			err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(logBucket).Put(key(5), damaged) })
			if err != nil {
				t.Fatal(err)
			}
			if err := s.GetLog(5, &got); err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
	if err := decodeEntry(good, 6, &got); err == nil {
		t.Fatal("an entry in another's place was believed")
	}
}
