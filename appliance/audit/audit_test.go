package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheLogIsBoundedAndItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	const most = 4096
	l, err := open(path, most)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 11, 27, 7, 0, 0, 0, time.UTC)
	const orders = 200
	for i := range orders {
		if i == orders/2 { // the node starts again
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = open(path, most); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Append(Entry{Time: began.Add(time.Duration(i) * time.Second), Who: "ci", Operation: "create-volume", Object: fmt.Sprint(i), Outcome: "done"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{path, former(path)} {
		if info, err := os.Stat(name); err != nil || info.Size() > most || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	all, err := Read(path, time.Time{}, 1000)
	if err != nil || len(all) < 30 || all[len(all)-1].Object != fmt.Sprint(orders-1) {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	for i := range all[1:] {
		if all[i+1].Time.Sub(all[i].Time) != time.Second {
			t.Errorf("between %+v and %+v is something else", all[i], all[i+1])
		}
	}
	if late, err := Read(path, began.Add((orders-3)*time.Second), 1000); err != nil || len(late) != 3 {
		t.Errorf("the last three seconds have %d entries, %v", len(late), err)
	}
	if few, err := Read(path, time.Time{}, 5); err != nil || len(few) != 5 || few[4].Object != fmt.Sprint(orders-1) {
		t.Errorf("the latest five are %+v, %v", few, err)
	}
}

func TestALineThatACrashCutOffIsLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"2026-11-27T07:00:00Z","who":"a"}`+"\n"+`{"time":"2026-11-`), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"b", "c"} {
		if err := l.Append(Entry{Who: who}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Read(path, time.Time{}, 10)
	if err != nil || len(all) != 3 || all[1].Who != "b" {
		t.Errorf("%+v, %v", all, err)
	}
}
