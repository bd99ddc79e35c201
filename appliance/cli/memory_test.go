package cli

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestAProcessThatMayNotLockItsMemorySaysWhatItNeeds before it touches its folder.
func TestAProcessThatMayNotLockItsMemorySaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	words := []string{"prlimit", "--memlock=0", os.Args[0], "serve", "--lock-memory", "--address", "127.0.0.1", "--dir", dir}
	if os.Geteuid() == 0 {
		words = append([]string{"setpriv", "--bounding-set=-ipc_lock,-sys_resource", "--inh-caps=-ipc_lock,-sys_resource"}, words...)
	}
	c := exec.Command(words[0], words[1:]...)
	c.Env = append(os.Environ(), asProgram+"=1")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	c.Run() // its end is in ProcessState
	isRefused(t, strings.Join(words, " "), result{stderr: stderr.String(), code: c.ProcessState.ExitCode()}, "not allowed to lock memory", "CAP_SYS_RESOURCE", "LimitMEMLOCK=infinity")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("its folder: %v, %v", left, err)
	}
}
