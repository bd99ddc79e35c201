package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// recording is what a client of the API's first version asked, in this order, and was answered. A call that is in it stays as it is:
// clients of then make it. New ones go to its end, without status and answer: -update records these.
const recording = "testdata/calls-v1.json"

// call is one of it. In what it asks, {dir} is a folder of the test's.
type call struct {
	Do     string          `json:"do"` // method and path
	Body   json.RawMessage `json:"body,omitempty"`
	Status int             `json:"status,omitempty"` // 0: it was not recorded yet
	Answer any             `json:"answer,omitempty"` // "<...>" stands for any value of that type
}

// make asks a node, and gives the status and the answer.
func (c *call) make(r *rig) (int, any) {
	r.t.Helper()
	method, path, _ := strings.Cut(c.Do, " ")
	status, _, text := r.send(method, path, strings.ReplaceAll(string(c.Body), "{dir}", r.dir))
	var answer any
	if len(text) > 0 {
		r.must(json.Unmarshal(text, &answer))
	}
	return status, answer
}

func readRecording(t *testing.T) (all []call) {
	t.Helper()
	text, err := os.ReadFile(recording)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// kindOf is what stands for any value of a type.
func kindOf(v any) string { return fmt.Sprintf("<%T>", v) }

// free says whether a client was promised nothing of a value but its type: texts for people, and numbers that are drawn or follow raft's.
func free(key string, v any) bool {
	_, text := v.(string)
	return text && slices.Contains([]string{"detail", "next", "text", "id", "last"}, key)
}

// common is what two answers to the same call have in common.
func common(a, b any) any {
	switch x := a.(type) {
	case map[string]any:
		y, _ := b.(map[string]any)
		out := map[string]any{}
		for key := range x {
			if free(key, x[key]) {
				out[key] = kindOf(x[key])
			} else if w, there := y[key]; there {
				out[key] = common(x[key], w)
			}
		}
		return out
	case []any:
		y, _ := b.([]any)
		out := []any{}
		for i := range min(len(x), len(y)) {
			out = append(out, common(x[i], y[i]))
		}
		return out
	}
	if reflect.DeepEqual(a, b) {
		return a
	}
	return kindOf(a)
}

// misses is what a client finds gone, or changed, that was there.
func misses(at string, old, now any) (all []string) {
	switch x := old.(type) {
	case map[string]any:
		y, ok := now.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %v, not an object", at, now)}
		}
		for key, v := range x {
			if w, there := y[key]; there {
				all = append(all, misses(at+"."+key, v, w)...)
			} else {
				all = append(all, at+"."+key+" is gone")
			}
		}
		slices.Sort(all)
		return all
	case []any:
		y, _ := now.([]any)
		if len(y) != len(x) {
			return []string{fmt.Sprintf("%s has %d elements, not %d", at, len(y), len(x))}
		}
		for i := range x {
			all = append(all, misses(fmt.Sprintf("%s[%d]", at, i), x[i], y[i])...)
		}
		return all
	}
	if old != kindOf(now) && !reflect.DeepEqual(old, now) {
		return []string{fmt.Sprintf("%s is %v, not %v", at, now, old)}
	}
	return nil
}

func TestOldClientsCallsKeepWorking(t *testing.T) {
	all := readRecording(t)
	if *update {
		record(t, all)
	}
	r := newRig(t)
	for i := range all {
		c := &all[i]
		status, answer := c.make(r)
		if status != c.Status {
			t.Fatalf("%s: status %d, not %d: %v", c.Do, status, c.Status, answer)
		}
		for _, m := range misses("the answer", c.Answer, answer) {
			if c.Answer != nil {
				t.Errorf("%s: %s", c.Do, m)
			}
		}
	}
}

// record has the calls without an answer made at two nodes: what differs between them is no promise.
func record(t *testing.T, all []call) {
	one, two := newRig(t), newRig(t)
	for i := range all {
		c := &all[i]
		status, answer := c.make(one)
		_, other := c.make(two)
		if c.Status == 0 {
			c.Status, c.Answer = status, common(answer, other)
		}
	}
	text, err := json.MarshalIndent(all, "", " ")
	if err == nil {
		err = os.WriteFile(recording, append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
