package engine

import (
	"crypto/sha256"
	"slices"
	"testing"

	"ashlar/node/cluster"
)

// TestAHashThatOneHeadBeganAndAnotherEndedIsThatOfTheWhole, wherever the first one stopped.
func TestAHashThatOneHeadBeganAndAnotherEndedIsThatOfTheWhole(t *testing.T) {
	text := make([]byte, 5*sha256.Size)
	for i := range text {
		text[i] = byte(i)
	}
	whole := sha256.Sum256(text)
	for at := 0; at <= len(text); at += sha256.Size {
		first, err := resumed(nil)
		if err != nil {
			t.Fatal(err)
		}
		first.Write(text[:at])
		second, err := resumed(state(first))
		if err != nil {
			t.Fatal(err)
		}
		second.Write(text[at:])
		if got := second.Sum(nil); !slices.Equal(got, whole[:]) {
			t.Errorf("from %d on: %x, not %x", at, got, whole)
		}
	}
	if _, err := resumed([]byte("something else")); err == nil {
		t.Error("what is no state of a hash was taken for one")
	}
}

func TestAJobNamesABoundedNumberOfBlocks(t *testing.T) {
	var p cluster.JobProgress
	for range 3 {
		x := Swept{Blocks: 256, Counts: cluster.Counts{Differing: 80, Mended: 40}}
		for i := range 80 {
			x.Found = append(x.Found, Difference{Mended: i%2 == 0})
		}
		add(&p, cluster.New(), x)
	}
	if len(p.Differences) != cluster.JobNamed || len(p.Repaired) != cluster.JobNamed || p.Counts.Differing != 240 || p.Blocks != 768 || p.Torn {
		t.Errorf("%d and %d named: %+v", len(p.Differences), len(p.Repaired), p.Counts)
	}
}
