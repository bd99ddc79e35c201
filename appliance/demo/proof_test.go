package demo

import (
	"bytes"
	"testing"
)

func write(l *ledger, block uint64, blocks int, acknowledged bool) []byte {
	p := make([]byte, blocks*blockBytes)
	l.begin(block, p)
	if acknowledged {
		l.acknowledge(block, len(p))
	}
	return p
}

func TestAnAcknowledgedWriteThatIsNotThereIsFound(t *testing.T) {
	zeros := make([]byte, blockBytes)
	l := newLedger()
	if !l.intact(7, zeros) {
		t.Error("a block that was never written must be zeros")
	}
	old := write(l, 7, 1, true)
	if !l.intact(7, old) || l.intact(7, zeros) {
		t.Error("after one write: the write is there, zeros are a loss")
	}
	new := write(l, 7, 1, true)
	if !l.intact(7, new) || l.intact(7, old) {
		t.Error("after a second write: the first one's content is a loss")
	}
	flipped := bytes.Clone(new)
	flipped[4000] ^= 1
	if l.intact(7, flipped) {
		t.Error("a flipped bit was not found")
	}
	if l.intact(8, new) {
		t.Error("another block's content was not found")
	}
}

func TestAWriteWithoutAnswerMayBeThereOrNot(t *testing.T) {
	l := newLedger()
	old := write(l, 3, 2, true)
	unanswered := write(l, 3, 2, false)
	for i, p := range [][]byte{old, unanswered} {
		if !l.intact(3, p[:blockBytes]) || !l.intact(4, p[blockBytes:]) {
			t.Errorf("content %d must count as intact", i)
		}
	}
	if l.intact(3, make([]byte, blockBytes)) {
		t.Error("zeros are a loss of the first write")
	}
}

func TestTornContentIsFound(t *testing.T) {
	l := newLedger()
	old, new := write(l, 1, 1, true), write(l, 1, 1, false)
	for at := 512; at < blockBytes; at += 512 {
		torn := append(bytes.Clone(new[:at]), old[at:]...)
		if l.intact(1, torn) {
			t.Errorf("torn at %d: not found", at)
		}
	}
}

func TestNoTwoWritersShareABlockAndSomeWritesCrossEachBorder(t *testing.T) {
	l := newLoad(nil, volumeBytes, segmentBytes)
	if want := volumeBytes/segmentBytes - 1; len(l.windows) != want {
		t.Fatalf("%d windows for %d borders", len(l.windows), want)
	}
	owner := map[uint64]int{}
	for i, first := range l.windows {
		border := uint64(i+1) * segmentBytes / blockBytes
		crosses := false
		for w := range writers {
			stripe := first + uint64(w)*stripeBlocks
			for b := stripe; b < stripe+stripeBlocks; b++ {
				if other, taken := owner[b]; taken {
					t.Fatalf("block %d belongs to writers %d and %d", b, other, w)
				}
				owner[b] = w
			}
			crosses = crosses || stripe+writeMax < border && border+writeMax < stripe+stripeBlocks
		}
		if !crosses {
			t.Errorf("no stripe lies across the border at block %d", border)
		}
		if last := first + writers*stripeBlocks; last > volumeBytes/blockBytes {
			t.Errorf("a window ends at block %d, behind the volume", last)
		}
	}
}
