package main

import (
	"slices"
	"testing"
)

func TestFuzzTargetsAreFoundWithTheirPackages(t *testing.T) {
	got := fuzzTargets("FuzzA\nFuzzB\nok  \tashlar/one\t0.004s\n?   \tashlar/two\t[no test files]\nok  \tashlar/three\t0.010s\nFuzzC\nok  \tashlar/four\t0.002s\n")
	want := []fuzzTarget{{"ashlar/one", "FuzzA"}, {"ashlar/one", "FuzzB"}, {"ashlar/four", "FuzzC"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
