package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ashlar/target/pages"
)

// newFile is a File of n blocks of zeros on a real file system.
func newFile(t *testing.T, n int64) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, n*blockSize), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// somePieces fill want, which is as long as the file, in part: of one to 32 blocks, some of which lie side by side.
func somePieces(rng *rand.Rand, want []byte) (pieces []piece) {
	for at := 0; at < len(want)/blockSize; at++ {
		p := piece{off: int64(at) * blockSize}
		for n := 1 + rng.IntN(chunkBlocks); len(p.blocks) < n && at < len(want)/blockSize; {
			b := pages.Make(min(n-len(p.blocks), len(want)/blockSize-at, 1+rng.IntN(4)) * blockSize)
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			copy(want[at*blockSize:], b)
			for i := 0; i < len(b); i += blockSize {
				p.blocks = append(p.blocks, (*[blockSize]byte)(b[i:]))
				at++
			}
		}
		pieces = append(pieces, p)
	}
	rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	return pieces
}

func TestManyPiecesAtOnceAreWhereTheyBelong(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, async := range []bool{true, false} {
		f := newFile(t, 2000)
		if f.Direct() && f.async == nil {
			t.Fatal("no asynchronous I/O here")
		}
		if !async && f.async != nil {
			f.async.close()
			f.async = nil
		}
		want, got := make([]byte, 2000*blockSize), make([]byte, 2000*blockSize)
		for range 3 {
			g := &gate{Device: f}
			if err := g.writeEach(somePieces(rng, want), 4); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("asynchronous %v: what is read is not what was written", async)
		}
	}
}

// One piece of many is refused by the system: the error is told, nothing is under way any
// more, and the gate is shut.
func TestAPieceThatFailsShutsTheGate(t *testing.T) {
	f := newFile(t, 100)
	rng := rand.New(rand.NewPCG(3, 4))
	pieces := somePieces(rng, make([]byte, 100*blockSize))
	pieces[len(pieces)/2].off = -blockSize
	g := &gate{Device: f}
	if err := g.writeEach(pieces, 4); err == nil || f.async != nil && !errors.Is(err, unix.EINVAL) {
		t.Errorf("a write at a negative offset: %v", err)
	}
	if err := g.writeEach(pieces[:1], 4); !errors.Is(err, ErrFailed) {
		t.Errorf("a write after one that failed: %v", err)
	}
}
