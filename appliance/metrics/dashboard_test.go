package metrics

import (
	_ "embed"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

//go:embed dashboard.json
var dashboard []byte

// all are the metrics that a node may tell of.
var all = []*prometheus.Desc{info, ready, isLeader, volumeBytes, copiesWanted, copiesInSync, headHere, operations, transferred, failures, underWay,
	copySeconds, linkSeconds, diskSeconds, diskBytes, diskUsed, diskFailed, diskSuspended, badBlocks, journalBytes}

// What the dashboard asks for is what nodes tell.
func TestTheDashboardAsksForWhatThereIs(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(dashboard, &d); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range all {
		name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(m.String())[1]
		known[name] = true
		if m == operations {
			known[name+"_bucket"], known[name+"_count"], known[name+"_sum"] = true, true, true
		}
	}
	asked := 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			for _, name := range regexp.MustCompile(`ashlar_\w+`).FindAllString(target.Expr, -1) {
				asked++
				if !known[name] {
					t.Errorf("panel %q asks for %s", p.Title, name)
				}
			}
			for _, label := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(target.Expr, -1) {
				for _, l := range strings.Split(label[1], ", ") {
					if l != "volume" && l != "class" && l != "le" {
						t.Errorf("panel %q sums by %q", p.Title, l)
					}
				}
			}
		}
	}
	if asked < 12 {
		t.Errorf("the dashboard asks for %d metrics", asked)
	}
}
