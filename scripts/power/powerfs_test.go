//go:build power

package power

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ashlar/scripts/internal/machines"
)

// The file system itself: a test of what it keeps is worth only as much as what
// it loses.
func TestAPowerCutLosesWhatWasNotSynced(t *testing.T) {
	m := machines.Start(t)
	path := func(name string) string { return filepath.Join(m.Folder, name) }
	folder := func(name string) string { return filepath.Join(m.Folder, name, "..") }
	syncFolder := func(name string) { syncPath(t, name) }

	write(t, path("old"), os.O_CREATE, "old old old", 0, true)
	write(t, path("cut short"), os.O_CREATE, "long long", 0, true)
	write(t, path("to be replaced"), os.O_CREATE, "before", 0, true)
	write(t, path("to be removed"), os.O_CREATE, "still here", 0, true)
	syncFolder(folder("x"))

	write(t, path("nameless"), os.O_CREATE, "synced, but its folder is not", 0, true)
	write(t, path("old"), 0, "new", 4, false)
	write(t, path("old"), syscall.O_DSYNC, "OLD", 8, false)
	write(t, path("old"), 0, strings.Repeat("x", 9000), 11, false)
	write(t, path("cut short"), os.O_TRUNC, "", 0, false)
	write(t, path("replacement"), os.O_CREATE, "after", 0, true)
	check(t, os.Rename(path("replacement"), path("to be replaced")))
	check(t, os.Remove(path("to be removed")))
	check(t, os.MkdirAll(path("a/b"), 0o700))
	if read(t, path("old")) != "old new OLD"+strings.Repeat("x", 9000) || read(t, path("to be replaced")) != "after" {
		t.Error("before the cut it is no file system")
	}
	if blocks, names := m.Cut(); blocks == 0 || names == 0 {
		t.Errorf("%d blocks and %d names were lost", blocks, names)
	}
	for name, want := range map[string]string{"old": "old old OLD", "cut short": "long long", "to be replaced": "before", "to be removed": "still here"} {
		if got := read(t, path(name)); got != want {
			t.Errorf("%s: %.100q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"nameless", "replacement", "a"} {
		if _, err := os.Stat(path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
}

func TestAPowerCutLeavesWhatWasSynced(t *testing.T) {
	m := machines.Start(t)
	path := func(name string) string { return filepath.Join(m.Folder, name) }
	check(t, os.Mkdir(path("snapshot.tmp"), 0o700))
	write(t, path("snapshot.tmp/state"), os.O_CREATE, "in a folder that gets its name later", 0, true)
	syncPath(t, path("snapshot.tmp"))
	check(t, os.Rename(path("snapshot.tmp"), path("snapshot")))
	write(t, path("new.tmp"), os.O_CREATE, "new", 0, true)
	check(t, os.Rename(path("new.tmp"), path("new")))
	syncPath(t, m.Folder)
	blocks := bytes.Repeat([]byte("12345678"), 4096)
	write(t, path("new"), syscall.O_DSYNC, string(blocks), 4096, false)
	check(t, os.Mkdir(path("left"), 0o700))
	m.Cut()
	if got := read(t, path("new")); got != "new"+strings.Repeat("\x00", 4093)+string(blocks) {
		t.Errorf("new has %d bytes: %.20q", len(got), got)
	}
	if got := read(t, path("snapshot/state")); got != "in a folder that gets its name later" {
		t.Errorf("snapshot/state: %q", got)
	}
	m.Lie()
	write(t, path("new"), syscall.O_DSYNC, "lost", 0, true)
	m.Cut()
	if got := read(t, path("new")); !strings.HasPrefix(got, "new\x00") {
		t.Errorf("synced to a liar, and there: %.20q", got)
	}
}

func TestFilesFailAsTheyWereOrderedTo(t *testing.T) {
	m := machines.Start(t)
	path := filepath.Join(m.Folder, "file")
	for _, c := range []struct {
		order string
		want  error
	}{{"fail", syscall.EIO}, {"full", syscall.ENOSPC}, {"well", nil}} {
		f, err := os.Create(path)
		check(t, err)
		m.Order(c.order, "/file")
		if _, err := f.Write([]byte("x")); !errors.Is(err, c.want) {
			t.Errorf("a write to a file that is to %s: %v", c.order, err)
		}
		if err := f.Sync(); !errors.Is(err, c.want) {
			t.Errorf("a sync of a file that is to %s: %v", c.order, err)
		}
		check(t, f.Close())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, flags int, text string, at int64, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o600)
	check(t, err)
	_, err = f.WriteAt([]byte(text), at)
	check(t, err)
	if sync {
		check(t, f.Sync())
	}
	check(t, f.Close())
}

func syncPath(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	check(t, errors.Join(f.Sync(), f.Close()))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	return string(text)
}
