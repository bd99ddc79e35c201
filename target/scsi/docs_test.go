package scsi

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ashlar/target/targettest"
)

const manual = "docs/iscsi.md"

// rows are the names in the first column of the table below a heading of the
// manual, sorted.
func rows(t *testing.T, heading string) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../../" + manual)
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no chapter %q", manual, heading)
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(chapter, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return names
}

func TestTheManualHasARowForEveryLogPageAndUnitAttention(t *testing.T) {
	r := newRig(t, targettest.Options{})
	var pages []string
	for _, p := range r.good(raw("4d 00 00 00 00 00 00 00 ff 00"), nil)[4:] {
		pages = append(pages, fmt.Sprintf("%02x", p))
	}
	if got := rows(t, "Log pages"); !slices.Equal(got, pages) {
		t.Errorf("%s has the log pages %v; there are %v", manual, got, pages)
	}
	source, err := os.ReadFile("attention.go")
	if err != nil {
		t.Fatal(err)
	}
	conditions := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+\w+\s+attention = 0x(\w{4})`).FindAllSubmatch(source, -1) {
		conditions[strings.ToLower(string(m[1]))] = true
	}
	want := slices.Sorted(maps.Keys(conditions))
	if got := rows(t, "Unit attentions"); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("%s has the unit attentions %v; there are %v", manual, got, want)
	}
}
