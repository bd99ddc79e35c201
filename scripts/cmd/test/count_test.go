package main

import (
	"slices"
	"testing"
)

func TestCounterCountsWhatRanAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name   string
		lines  []string
		passed int
		failed []string
	}{
		{"nothing", nil, 0, nil},
		{"a package without tests", []string{`{"Action":"skip","Package":"p"}`}, 0, nil},
		{"two that pass", []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"run","Package":"p","Test":"TestB"}`, `{"Action":"pass","Package":"p","Test":"TestB"}`,
			`{"Action":"pass","Package":"p"}`}, 2, nil},
		{"a failed one counts once", []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`}, 0, []string{"p.TestA"}},
		{"subtests count, their parent does not", []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"run","Package":"p","Test":"TestA/x"}`,
			`{"Action":"run","Package":"p","Test":"TestA/y"}`, `{"Action":"pass","Package":"p","Test":"TestA/x"}`,
			`{"Action":"fail","Package":"p","Test":"TestA/y"}`, `{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`}, 1, []string{"p.TestA/y"}},
		{"a parent that fails by itself", []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"run","Package":"p","Test":"TestA/x"}`,
			`{"Action":"pass","Package":"p","Test":"TestA/x"}`, `{"Action":"fail","Package":"p","Test":"TestA"}`}, 1, []string{"p.TestA"}},
		{"skipped", []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"skip","Package":"p","Test":"TestA"}`}, 0, []string{"p.TestA (skip)"}},
		{"a process that dies in the midst", []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"fail","Package":"p"}`}, 0, []string{"p.TestA (unfinished)"}},
		{"a package that fails outside of its tests", []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`}, 1, []string{"p"}},
	} {
		counter := newCounter()
		for _, line := range c.lines {
			counter.event([]byte(line))
		}
		got := counter.tally()
		if got.passed != c.passed || !slices.Equal(got.failed, c.failed) {
			t.Errorf("%s: %d passed, failed %v; want %d, %v", c.name, got.passed, got.failed, c.passed, c.failed)
		}
	}
}

func TestSummaryHoldsWhatAFailedTestSaidAndNotWhatItsNodesLogged(t *testing.T) {
	counter := newCounter()
	for _, line := range []string{
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: 3 blocks are wrong\n"}`,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"        time=12:00 level=INFO msg=login\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestA"}`,
	} {
		counter.event([]byte(line))
	}
	if got := counter.tally().said; !slices.Equal(got, []string{"p.TestA: a_test.go:7: 3 blocks are wrong"}) {
		t.Errorf("said %q", got)
	}
}
