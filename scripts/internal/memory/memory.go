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
	// Its first line is the URL.
	line, err := bufio.NewReader(out).ReadString('\n')
	if url = strings.TrimSpace(line); err != nil || !strings.HasPrefix(url, "iscsi://") {
		t.Fatalf("memtarget says %q: %v", line, err)
	}
	return url
}
