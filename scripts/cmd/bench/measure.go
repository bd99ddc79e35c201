package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// sample is what one measurement gave.
type sample struct {
	rate    float64       // operations a second
	latency []float64     // us: p50, p99, p99.9; nil where the client does not tell
	cpu     float64       // us of the server's processor time for each operation
	cores   float64       // processors that the server used, on average
	memory  uint64        // bytes resident, of the server
	took    time.Duration // in fact
}

// quantiles are those of sample.latency.
var quantiles = []float64{0.5, 0.99, 0.999}

// rival is one way to do a case's work.
type rival struct {
	name string
	run  func(length time.Duration) (sample, error)
}

// goal is a ratio that a case is to reach: of a figure of two rivals, or one that
// needs more of them.
type goal struct {
	what            string
	of              func(outcome) float64
	ours, to        string
	all             func(map[string]outcome) float64 // nil: of(ours) / of(to)
	atLeast, atMost float64                          // one of them; none: the ratio is told, and no goal
}

// benchCase is work that rivals do in turn.
type benchCase struct {
	name, about string
	rivals      func() ([]rival, error)
	goals       []goal
	long        int // usual lengths that it is measured for, once and without warming up; 0: in rounds
}

// outcome is a rival's median of all rounds.
type outcome struct {
	Rival   string    `json:"rival"`
	Rate    float64   `json:"iops"`
	Lowest  float64   `json:"iops_lowest"`
	Highest float64   `json:"iops_highest"`
	Latency []float64 `json:"latency_us,omitempty"` // p50, p99, p99.9
	CPU     float64   `json:"cpu_us"`
	Cores   float64   `json:"cores"`
	Memory  uint64    `json:"memory_bytes"`
}

// verdict is a goal with what was seen.
type verdict struct {
	What  string  `json:"what"`
	Ratio float64 `json:"ratio"`
	Goal  string  `json:"goal"` // empty: there is none
	Met   bool    `json:"met"`
}

type result struct {
	Case     string    `json:"case"`
	About    string    `json:"about"`
	Outcomes []outcome `json:"outcomes"`
	Verdicts []verdict `json:"goals"`
}

// measure lets the rivals of a case work in turn, once for each round, after a
// short one that warms them up.
func (b *bench) measure(c benchCase) (result, error) {
	rivals, err := c.rivals()
	if err != nil {
		return result{}, err
	}
	samples := map[string][]sample{}
	rounds, usual := b.rounds, b.length
	if c.long > 0 {
		rounds, usual = 1, b.length*time.Duration(c.long)
	}
	for round := range rounds + 1 {
		if round == 0 && c.long > 0 {
			continue
		}
		for _, r := range rivals {
			length := usual
			if round == 0 {
				length = min(length, 300*time.Millisecond)
			}
			var s sample
			if err := patiently(func() (err error) { s, err = r.run(length); return err }); err != nil {
				return result{}, fmt.Errorf("%s: %w", r.name, err)
			}
			if round > 0 {
				samples[r.name] = append(samples[r.name], s)
			}
		}
	}
	out := result{Case: c.name, About: c.about}
	byName := map[string]outcome{}
	for _, r := range rivals {
		o := summarize(r.name, samples[r.name])
		byName[r.name] = o
		out.Outcomes = append(out.Outcomes, o)
	}
	for _, g := range c.goals {
		out.Verdicts = append(out.Verdicts, g.judge(byName))
	}
	b.results[c.name] = out
	return out, nil
}

// patiently does work once more whose session was lost: a node drops its sessions where the machine had it stand still.
func patiently(work func() error) error {
	err := work()
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "a session was lost, and its work is done once more:", err)
		err = work()
	}
	return err
}

func summarize(name string, all []sample) outcome {
	of := func(f func(sample) float64) (list []float64) {
		for _, s := range all {
			list = append(list, f(s))
		}
		slices.Sort(list)
		return list
	}
	rates := of(func(s sample) float64 { return s.rate })
	o := outcome{Rival: name, Rate: median(rates), Lowest: rates[0], Highest: rates[len(rates)-1],
		CPU: median(of(func(s sample) float64 { return s.cpu })), Cores: median(of(func(s sample) float64 { return s.cores })), Memory: uint64(median(of(func(s sample) float64 { return float64(s.memory) })))}
	if all[0].latency != nil {
		for i := range quantiles {
			o.Latency = append(o.Latency, median(of(func(s sample) float64 { return s.latency[i] })))
		}
	}
	return o
}

// median of a sorted list.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (g goal) judge(of map[string]outcome) verdict {
	v := verdict{What: g.what}
	if g.all != nil {
		v.Ratio = g.all(of)
	} else {
		v.What = fmt.Sprintf("%s: %s / %s", g.what, g.ours, g.to)
		v.Ratio = g.of(of[g.ours]) / g.of(of[g.to])
	}
	switch {
	case g.atLeast > 0:
		v.Goal, v.Met = fmt.Sprintf("at least %g", g.atLeast), v.Ratio >= g.atLeast
	case g.atMost > 0:
		v.Goal, v.Met = fmt.Sprintf("at most %g", g.atMost), v.Ratio <= g.atMost
	}
	return v
}

func rate(o outcome) float64      { return o.Rate }
func processor(o outcome) float64 { return o.CPU }
func p50(o outcome) float64       { return o.Latency[0] }
func p99(o outcome) float64       { return o.Latency[1] }

// print prints one table of all results, and one of the goals.
func print(w io.Writer, results []result) {
	t := newTable(w)
	t.AppendHeader(table.Row{"case", "", "ops/s", "lowest", "highest", "p50 us", "p99 us", "p99.9 us", "cpu us", "cores", "MiB"})
	for _, r := range results {
		for i, o := range r.Outcomes {
			name := ""
			if i == 0 {
				name = r.Case
			}
			latency := []string{"", "", ""}
			for i, l := range o.Latency {
				latency[i] = fmt.Sprintf("%.0f", l)
			}
			t.AppendRow(table.Row{name, o.Rival, fmt.Sprintf("%.0f", o.Rate), fmt.Sprintf("%.0f", o.Lowest), fmt.Sprintf("%.0f", o.Highest),
				latency[0], latency[1], latency[2], fmt.Sprintf("%.1f", o.CPU), fmt.Sprintf("%.3f", o.Cores), o.Memory >> 20})
		}
	}
	t.Render()
	fmt.Fprintln(w)
	t = newTable(w)
	t.AppendHeader(table.Row{"case", "ratio of", "", "goal", ""})
	for _, r := range results {
		for _, v := range r.Verdicts {
			met := "missed"
			switch {
			case v.Met:
				met = "met"
			case v.Goal == "":
				met = ""
			}
			t.AppendRow(table.Row{r.Case, v.What, fmt.Sprintf("%.2f", v.Ratio), v.Goal, met})
		}
	}
	t.Render()
}

func newTable(w io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleDefault)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	return t
}
