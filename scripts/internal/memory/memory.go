// Package memory serves our iSCSI target over a memory device, in a process of
// its own, for tests that want the target without a cluster.
package memory

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Serve builds memtarget and runs it until the test ends, as command makes the
// process of a binary and its arguments. It returns the unit's URL,
// iscsi://ADDRESS/IQN/LUN. The working directory is within the module.
func Serve(t *testing.T, command func(binary string, args ...string) *exec.Cmd, args ...string) (url string) {
	t.Helper()
	return ServePaths(t, 1, command, args...)[0]
}

// ServePaths is Serve for a unit that the arguments give so many portals, with a
// URL each.
func ServePaths(t *testing.T, paths int, command func(binary string, args ...string) *exec.Cmd, args ...string) (urls []string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "memtarget")
	build := exec.Command("go", "build", "-o", binary, "ashlar/target/targettest/memtarget")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	target := command(binary, args...)
	target.Stderr = os.Stderr
	out, err := target.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		target.Process.Kill()
		target.Wait()
	})
	// It says its URLs first, a line each.
	lines := bufio.NewReader(out)
	for range paths {
		line, err := lines.ReadString('\n')
		url := strings.TrimSpace(line)
		if err != nil || !strings.HasPrefix(url, "iscsi://") {
			t.Fatalf("memtarget says %q: %v", line, err)
		}
		urls = append(urls, url)
	}
	return urls
}
