//go:build lab

// Package hosts tests with real Linux initiators. Each test wants a lab of its
// own: `scripts/test --only hosts` gives it one, and so does
//
//	go test -c -tags lab -o hosts.test ./scripts/hosts
//	scripts/lab in ./hosts.test -test.v -test.run '^TestName$'
package hosts

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"ashlar/scripts/internal/fabric"
	"ashlar/scripts/internal/guest"
)

//go:embed *.sh
var scripts embed.FS

// host is a guest that runs.
type host struct {
	t *testing.T
	n int
}

// quickBytes of a disk are soon written and read back by fio-start.sh.
const quickBytes = 4 << 20

// startHost resumes guest n.
func startHost(t *testing.T, n int) host {
	t.Helper()
	state, saved := os.Getenv("ASHLAR_LAB"), os.Getenv("ASHLAR_LAB_GUEST")
	if state == "" {
		t.Fatal("not in a lab: scripts/lab in ...")
	}
	if err := guest.Up(n, saved, state, fabric.Bridges); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guest.Down(n, state) })
	return host{t, n}
}

// try runs a shell script with variables ("NAME=value") and returns its output
// and its exit code.
func (h host) try(script string, variables ...string) (string, int) {
	h.t.Helper()
	var out bytes.Buffer
	code, err := guest.Run(h.n, io.MultiReader(strings.NewReader(assignments(variables)), strings.NewReader(script)), &out)
	if err != nil {
		h.t.Fatalf("%v after:\n%s", err, out.String())
	}
	return out.String(), code
}

func assignments(variables []string) string {
	var text strings.Builder
	for _, variable := range variables {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&text, "export %s='%s'\n", name, value)
	}
	return text.String()
}

// must runs a script that has to succeed.
func (h host) must(script string, variables ...string) string {
	h.t.Helper()
	out, code := h.try(script, variables...)
	if code != 0 {
		h.t.Fatalf("exit code %d of:\n%s\n%s", code, script, out)
	}
	return out
}

// file is one of this folder's scripts.
func file(t *testing.T, name string) string {
	t.Helper()
	text, err := scripts.ReadFile(name + ".sh")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// script is must for one of this folder's files; its output goes into the log.
func (h host) script(name string, variables ...string) string {
	h.t.Helper()
	begin := time.Now()
	out, code := h.try(file(h.t, name), variables...)
	h.t.Logf("%s, %.1f s, exit code %d\n%s", name, time.Since(begin).Seconds(), code, out)
	if code != 0 {
		h.t.Fatalf("%s failed", name)
	}
	return out
}

// await waits until a script succeeds.
func (h host) await(timeout time.Duration, what, script string) {
	h.t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		out, code := h.try(script)
		if code == 0 {
			return
		}
		if time.Now().After(deadline) {
			sees, _ := h.try(hostSees)
			h.t.Fatalf("no %s within %v:\n%s\nwhat the host sees:\n%s", what, timeout, out, sees)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// hostSees tells of a host's sessions and paths, and what its kernel said last.
const hostSees = `iscsiadm -m session -P 1; multipath -ll; ss -tno; ps -eo pid,stat,wchan:30,args | grep -E 'iscsi|multipath'; dmesg | tail -40`

// progress is what fio-progress.sh says; flying is "-" where the kernel does not.
func (h host) progress() (passes, completed int, flying string) {
	h.t.Helper()
	out := h.must(file(h.t, "fio-progress"))
	if _, err := fmt.Sscan(out, &passes, &completed, &flying); err != nil {
		h.t.Fatalf("fio-progress: %v in %q", err, out)
	}
	return passes, completed, flying
}

// awaitIO waits until the disk has completed that many more I/Os, and returns
// how long it took.
func (h host) awaitIO(more int, timeout time.Duration) time.Duration {
	h.t.Helper()
	begin := time.Now()
	_, start, _ := h.progress()
	for {
		_, now, flying := h.progress()
		if now >= start+more {
			return time.Since(begin)
		}
		if time.Since(begin) > timeout {
			h.t.Fatalf("%d more I/Os within %v, want %d; %s in flight\n%s", now-start, timeout, more, flying, h.must("multipath -ll"))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// report is the last line of fio-stop.sh.
type report struct {
	passes, writes, reads, errors int
	pause, slowest                time.Duration // between two completions; of one I/O
}

func (h host) stopFio() report {
	h.t.Helper()
	out := h.script("fio-stop")
	var r report
	var pause, slowest int
	if _, err := fmt.Sscanf(out, "passes %d writes %d reads %d errors %d longest-pause-ms %d longest-io-ms %d",
		&r.passes, &r.writes, &r.reads, &r.errors, &pause, &slowest); err != nil {
		h.t.Fatalf("fio-stop: %v in %q", err, out)
	}
	r.pause, r.slowest = time.Duration(pause)*time.Millisecond, time.Duration(slowest)*time.Millisecond
	return r
}

// awaitPaths waits until multipathd sees so many active and so many failed paths.
func (h host) awaitPaths(active, failed int) {
	h.t.Helper()
	h.await(60*time.Second, fmt.Sprintf("%d active and %d failed paths", active, failed), fmt.Sprintf(`
		multipathd show paths raw format '%%i %%t' >/tmp/paths || exit 1
		cat /tmp/paths
		[ "$(grep -c ' active$' /tmp/paths)" = %d ] && [ "$(grep -c ' failed$' /tmp/paths)" = %d ]`, active, failed))
}
