//go:build lab

package hosts

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ashlar/scripts/internal/fabric"
)

// The lab itself, proven with Debian's own target: what fails here is not ours.

func TestLabGuestTellsOutputAndExitCode(t *testing.T) {
	h := startHost(t, 1)
	for _, c := range []struct {
		script, out string
		code        int
	}{
		{"true", "", 0},
		{"echo a; echo; echo -n b", "a\n\nb", 0},
		{"echo to stderr >&2; exit 7", "to stderr\n", 7},
		{"kill -9 $$", "Killed\n", 137},
	} {
		out, code := h.try(c.script)
		if out != c.out || code != c.code {
			t.Errorf("%q: %q and exit code %d, want %q and %d", c.script, out, code, c.out, c.code)
		}
	}
	if kernel := h.must("uname -r"); strings.Contains(kernel, "cloud") {
		t.Errorf("kernel %s lacks scsi_dh_alua", kernel)
	}
}

func TestLabCutsPartWhatTheyNameAndNothingElse(t *testing.T) {
	for k := 1; k <= 3; k++ {
		if err := fabric.AddNode(k); err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{address("a", k), address("b", k)} {
			serve(t, k, address)
		}
	}
	all := map[string]bool{}
	for _, from := range []int{1, 2, 3} {
		for _, to := range []int{1, 2, 3} {
			for _, f := range []string{"a", "b"} {
				if from != to {
					all[way(from, to, f)] = true
				}
			}
		}
	}
	for _, cut := range []struct {
		args string
		ways []string // that are gone
	}{
		{"1", []string{"1>2a", "1>3a", "2>1a", "3>1a", "1>2b", "1>3b", "2>1b", "3>1b"}},
		{"2 b", []string{"2>1b", "2>3b", "1>2b", "3>2b"}},
		{"1 3", []string{"1>3a", "3>1a", "1>3b", "3>1b"}},
		{"2 3 a", []string{"2>3a", "3>2a"}},
	} {
		ports, fabrics, err := fabric.ParseCut(strings.Fields(cut.args))
		if err != nil {
			t.Fatal(err)
		}
		if err := fabric.Cut(ports, fabrics); err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for w := range all {
			want[w] = true
		}
		for _, w := range cut.ways {
			delete(want, w)
		}
		expectWays(t, "cut "+cut.args, all, want)
		if err := fabric.Heal(ports, fabrics); err != nil {
			t.Fatal(err)
		}
	}
	expectWays(t, "healed", all, all)
}

func way(from, to int, f string) string {
	return string(rune('0'+from)) + ">" + string(rune('0'+to)) + f
}

func address(f string, k int) string {
	return map[string]string{"a": "10.1.0.", "b": "10.2.0."}[f] + string(rune('0'+k))
}

// serve accepts connections on node k until the test ends.
func serve(t *testing.T, k int, address string) {
	var listener net.Listener
	if err := fabric.On(k, func() (err error) {
		listener, err = net.Listen("tcp", address+":3260")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
}

// expectWays dials each way. A cut is silent: it shows as a time-out, never as a
// refusal.
func expectWays(t *testing.T, when string, all, want map[string]bool) {
	t.Helper()
	results := make(chan error, len(all))
	for w := range all {
		go func() {
			from, to, f := int(w[0]-'0'), int(w[2]-'0'), w[3:]
			err := fabric.On(from, func() error { return tryWay(address(f, to)+":3260", want[w]) })
			var timeout net.Error
			// An address that nobody answers for is as silent as a lost packet.
			silent := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, syscall.EHOSTUNREACH)
			if (err == nil) != want[w] || err != nil && !silent {
				results <- errors.New(w + ": want open " + map[bool]string{true: "yes", false: "no"}[want[w]] + ", have " + errorText(err))
				return
			}
			results <- nil
		}()
	}
	for range all {
		if err := <-results; err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// tryWay connects. A way that is to be open has time for it: the kernel may still
// be looking in vain for the address, since a cut before this one, and a first packet that is
// lost is sent again after a second.
func tryWay(address string, open bool) error {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		if !open || time.Since(began) > 10*time.Second {
			return err
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "a connection"
	}
	return err.Error()
}

func TestLongLabLinuxHostLivesThroughTheLossOfEitherFabric(t *testing.T) {
	const target = "iqn.2026-01.lab.tgt:disk"
	startTgt(t, 1, target, 64<<20)
	h := startHost(t, 1)
	// tgtd names only the portal that it is asked at.
	if out := h.script("login", "PORTALS=10.1.0.1 10.2.0.1", "TARGET="+target, "PATHS=2"); strings.Count(out, "mpath") != 1 || !strings.Contains(out, "status=active") {
		t.Errorf("not one multipath device with an active group:\n%s", out)
	}
	h.script("files")
	h.script("fio-start", "BYTES=67108864")
	for _, f := range []string{"a", "b"} {
		h.awaitIO(500, 60*time.Second)
		if err := fabric.Cut([]string{"n1"}, []string{f}); err != nil {
			t.Fatal(err)
		}
		h.awaitPaths(1, 1)
		t.Logf("fabric %s cut: 500 more I/Os after %.1f s", f, h.awaitIO(500, 60*time.Second).Seconds())
		if err := fabric.Heal([]string{"n1"}, []string{f}); err != nil {
			t.Fatal(err)
		}
		h.awaitPaths(2, 0)
	}
	r := h.stopFio()
	if r.errors != 0 || r.reads != r.writes || r.writes != r.passes*(64<<20)/4096 {
		t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	if most := 15 * time.Second; r.pause > most {
		t.Errorf("a pause of %v, want at most %v", r.pause, most)
	}
	t.Logf("longest pause %v, longest I/O %v", r.pause, r.slowest)
	h.script("logout")
}

// startTgt serves a disk of some bytes from node k on both fabrics with Debian's
// tgtd, until the test ends.
func startTgt(t *testing.T, k int, target string, bytes int64) {
	t.Helper()
	if err := fabric.AddNode(k); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, bytes), os.MkdirAll("/run/tgtd", 0o755)); err != nil {
		t.Fatal(err)
	}
	tgtd := fabric.Command(k, "tgtd", "-f", "--iscsi", "portal="+address("a", k)+":3260,portal="+address("b", k)+":3260")
	var said strings.Builder
	tgtd.Stdout, tgtd.Stderr = &said, &said
	if err := tgtd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tgtd.Process.Kill()
		tgtd.Wait()
		if t.Failed() {
			t.Logf("tgtd: %s", said.String())
		}
	})
	admin := func(args ...string) error {
		return fabric.Command(k, "tgtadm", append([]string{"--lld", "iscsi"}, args...)...).Run()
	}
	deadline := time.Now().Add(10 * time.Second)
	for admin("--op", "show", "--mode", "target") != nil {
		if time.Now().After(deadline) {
			t.Fatal("tgtd does not answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := errors.Join(
		admin("--op", "new", "--mode", "target", "--tid", "1", "-T", target),
		admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", disk),
		admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")); err != nil {
		t.Fatal(err)
	}
}
