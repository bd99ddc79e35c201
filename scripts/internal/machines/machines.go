// Package machines gives tests file systems that lose their power, and whose files are
// slow, hang, fail or have no room.
package machines

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ashlar/scripts/internal/clusters"
)

// powerfsVariable names the program, which is built where modules can be had.
const powerfsVariable = "ASHLAR_TEST_POWERFS"

// Prepare builds the program, for clusters.Main. The working directory is that of a
// package in a folder beside tools.
func Prepare() error {
	if os.Getenv(powerfsVariable) != "" {
		return nil
	}
	path := filepath.Join(filepath.Dir(os.Getenv(clusters.ProgramVariable)), "powerfs")
	build := exec.Command("go", "build", "-C", "../tools", "-o", path, "./powerfs")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return os.Setenv(powerfsVariable, path)
}

// Machine is a file system that loses what was not synced.
type Machine struct {
	Folder  string
	t       *testing.T
	orders  io.Writer
	answers *bufio.Reader
}

// Start mounts one, which ends with its test.
func Start(t *testing.T) *Machine {
	t.Helper()
	dir := clusters.ShortTempDir(t)
	for _, name := range []string{"m", "real", "attic"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m := &Machine{t: t, Folder: filepath.Join(dir, "m")}
	cmd := exec.Command(os.Getenv(powerfsVariable), m.Folder, filepath.Join(dir, "real"), filepath.Join(dir, "attic"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.orders, m.answers = in, bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("powerfs: %v", err)
		}
	})
	m.expect("mounted")
	return m
}

func (m *Machine) expect(want string) string {
	m.t.Helper()
	line, err := m.answers.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		m.t.Fatalf("powerfs says %q: %v; want %q", line, err, want)
	}
	return line
}

// Cut undoes what was not synced; with a seed, only half of its blocks.
func (m *Machine) Cut(seed ...int) (blocks, names int) {
	m.t.Helper()
	fmt.Fprintln(m.orders, strings.NewReplacer("[", "", "]", "").Replace(fmt.Sprint("cut ", seed)))
	if _, err := fmt.Sscanf(m.expect("cut"), "cut %d %d", &blocks, &names); err != nil {
		m.t.Fatal(err)
	}
	return blocks, names
}

// Lie makes every sync from now on a lie.
func (m *Machine) Lie() {
	m.t.Helper()
	fmt.Fprintln(m.orders, "lie")
	m.expect("lying")
}

// Order has the file system make files slow, hang, fail or be full, or well again, as
// tools/powerfs/main.go says.
func (m *Machine) Order(words ...string) {
	m.t.Helper()
	fmt.Fprintln(m.orders, strings.Join(words, " "))
	m.expect("so be it")
}
