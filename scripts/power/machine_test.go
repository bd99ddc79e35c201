//go:build power

package power

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

func TestMain(m *testing.M) {
	clusters.Main(m, func() error {
		if os.Getenv(powerfsVariable) != "" {
			return nil
		}
		path := filepath.Join(filepath.Dir(os.Getenv("ASHLAR_TEST_PROGRAM")), "powerfs")
		build := exec.Command("go", "build", "-C", "../tools", "-o", path, "./powerfs")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
		return os.Setenv(powerfsVariable, path)
	})
}

// machine is a file system that loses what was not synced.
type machine struct {
	t       *testing.T
	folder  string
	orders  io.Writer
	answers *bufio.Reader
}

func startMachine(t *testing.T) *machine {
	t.Helper()
	dir := clusters.ShortTempDir(t)
	for _, name := range []string{"m", "real", "attic"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m := &machine{t: t, folder: filepath.Join(dir, "m")}
	cmd := exec.Command(os.Getenv(powerfsVariable), m.folder, filepath.Join(dir, "real"), filepath.Join(dir, "attic"))
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

func (m *machine) expect(want string) string {
	m.t.Helper()
	line, err := m.answers.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		m.t.Fatalf("powerfs says %q: %v; want %q", line, err, want)
	}
	return line
}

// cut undoes what was not synced; with a seed, only half of its blocks.
func (m *machine) cut(seed ...int) (blocks, names int) {
	m.t.Helper()
	fmt.Fprintln(m.orders, strings.NewReplacer("[", "", "]", "").Replace(fmt.Sprint("cut ", seed)))
	if _, err := fmt.Sscanf(m.expect("cut"), "cut %d %d", &blocks, &names); err != nil {
		m.t.Fatal(err)
	}
	return blocks, names
}

// lie makes every sync from now on a lie.
func (m *machine) lie() {
	m.t.Helper()
	fmt.Fprintln(m.orders, "lie")
	m.expect("lying")
}
