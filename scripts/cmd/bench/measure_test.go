package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fixed is a rival whose rounds give these rates in turn.
func fixed(name string, rates ...float64) rival {
	return rival{name, func(time.Duration) (sample, error) {
		s := sample{rate: rates[0], latency: []float64{1e6 / rates[0], 0, 0}}
		rates = rates[1:]
		return s, nil
	}}
}

func TestTheMedianOfTheRoundsCountsWithoutTheOneThatWarmsUp(t *testing.T) {
	b := &bench{options: options{rounds: 3}, results: map[string]result{}}
	r, err := b.measure(benchCase{name: "c",
		rivals: func() ([]rival, error) {
			return []rival{fixed(ours, 9999, 300, 100, 200), fixed(tgt, 9999, 50, 50, 100)}, nil
		},
		goals: []goal{
			{what: "rate", of: rate, ours: ours, to: tgt, atLeast: 4},
			{what: "rate", of: rate, ours: ours, to: tgt, atLeast: 4.1},
			{what: "p50", of: p50, ours: ours, to: tgt, atMost: 0.25},
			{what: "both", all: func(o map[string]outcome) float64 { return o[ours].Rate + o[tgt].Rate }, atMost: 249},
		}})
	if err != nil {
		t.Fatal(err)
	}
	if o := r.Outcomes[0]; o.Rate != 200 || o.Lowest != 100 || o.Highest != 300 {
		t.Errorf("%+v", o)
	}
	for i, want := range []bool{true, false, true, false} {
		if v := r.Verdicts[i]; v.Met != want {
			t.Errorf("%+v", v)
		}
	}
	var text strings.Builder
	print(&text, []result{r})
	for _, want := range []string{"ours", "tgtd", "4.00", "missed"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}

func TestQuantilesAreInMicroseconds(t *testing.T) {
	var latency []int64
	for i := range int64(1000) {
		latency = append(latency, (1000-i)*1000)
	}
	if q := pick(latency); q[0] != 501 || q[1] != 991 || q[2] != 1000 {
		t.Errorf("%v", q)
	}
}

func TestWhatLostItsSessionIsMeasuredOnceMore(t *testing.T) {
	lost := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	other := errors.New("something else")
	for _, c := range []struct {
		errs []error
		want error
	}{
		{[]error{nil}, nil},
		{[]error{fmt.Errorf("a stream: %w", lost), nil}, nil},
		{[]error{io.EOF, other}, other},
		{[]error{other}, other},
	} {
		n := 0
		if err := patiently(func() error { n++; return c.errs[n-1] }); err != c.want || n != len(c.errs) {
			t.Errorf("%v: done %d times, in the end %v", c.errs, n, err)
		}
	}
}
