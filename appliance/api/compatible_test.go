package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"ashlar/appliance/api"
)

var update = flag.Bool("update", false, "write the description in testdata anew")

const described = "testdata/openapi.json"

// breaks tells what a client that was made for the old description would miss in the new one. Texts for people, and limits
// that are wider, are no part of it.
func breaks(at string, old, now any) (all []string) {
	switch old := old.(type) {
	case map[string]any:
		fresh, ok := now.(map[string]any)
		if !ok {
			return []string{at + " is gone"}
		}
		for key, v := range old {
			switch key {
			case "description", "summary", "version", "title", "maximum", "maxLength", "minimum", "minLength":
			default:
				if w, there := fresh[key]; !there {
					all = append(all, at+"/"+key+" is gone")
				} else {
					all = append(all, breaks(at+"/"+key, v, w)...)
				}
			}
		}
	case []any:
		fresh, _ := now.([]any)
		if isSet(old) { // of an enum, or of required properties
			for _, v := range old {
				if !slices.Contains(fresh, v) {
					all = append(all, fmt.Sprintf("%s: %v is gone", at, v))
				}
			}
			return all
		}
		for i, v := range old {
			if i >= len(fresh) {
				return append(all, fmt.Sprintf("%s/%d is gone", at, i))
			}
			all = append(all, breaks(fmt.Sprintf("%s/%d", at, i), v, fresh[i])...)
		}
	default:
		if old != now {
			all = append(all, fmt.Sprintf("%s is %v instead of %v", at, now, old))
		}
	}
	return all
}

// isSet says whether a list is one of names, whose order means nothing.
func isSet(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool { _, text := v.(string); return !text })
}

func TestTheDescriptionIsTheOneThatIsKeptAndBreaksNoClient(t *testing.T) {
	w := httptest.NewRecorder()
	api.Handler(nil, "test").ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	var now bytes.Buffer
	if err := json.Indent(&now, w.Body.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(described)
	if err == nil {
		var old, fresh any
		if err := json.Unmarshal(kept, &old); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(now.Bytes(), &fresh); err != nil {
			t.Fatal(err)
		}
		for _, b := range breaks("", old, fresh) {
			t.Error(b)
		}
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(described, now.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(kept, now.Bytes()) {
		t.Errorf("the API is described otherwise than in %s: go test ./appliance/api -run Description -update keeps what breaks no client", described)
	}
}

func TestWhatAClientWouldMissIsFound(t *testing.T) {
	old := map[string]any{"a": map[string]any{"type": "string", "description": "x"}, "b": []any{"c"}}
	for text, want := range map[string]int{
		`{"a":{"type":"string"},"b":["c","d"],"e":1}`: 0,
		`{"a":{"type":"integer"},"b":["c"]}`:          1,
		`{"b":[]}`:                                    2,
	} {
		var now any
		if err := json.Unmarshal([]byte(text), &now); err != nil {
			t.Fatal(err)
		}
		if got := breaks("", old, now); len(got) != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}
