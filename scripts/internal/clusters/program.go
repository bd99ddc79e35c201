package clusters

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"ashlar/scripts/internal/fabric"
)

var (
	starting sync.Once
	starts   = make(chan func())
)

// ProgramVariable names the binary under test, where somebody has built it:
// a network of its own has no way to the modules that a build may want.
const ProgramVariable = "ASHLAR_TEST_PROGRAM"

var program struct {
	once sync.Once
	path string
	err  error
}

// Program is the binary under test, built once where nobody has.
func Program(t testing.TB) string {
	t.Helper()
	program.once.Do(func() {
		if program.path = os.Getenv(ProgramVariable); program.path == "" {
			program.path, program.err = build()
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// build makes the binary. The working directory is within the module.
func build() (string, error) {
	dir, err := os.MkdirTemp("", "ashlar-program-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "ashlar")
	cmd := exec.Command("go", "build", "-o", path, "ashlar/appliance/ashlar")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
}

// privateVariable is set in the process that Main runs the tests in.
const privateVariable = "ASHLAR_TEST_PRIVATE"

// Main is a TestMain that runs the tests in network, mount and process
// namespaces of their own: all ports of loopback are theirs, what they mount or
// leave running ends with them, and they are root there.
func Main(m *testing.M, prepare ...func() error) {
	if os.Getenv(privateVariable) != "" {
		if err := fabric.EnterPrivate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	code, err := outside(prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// outside builds what the tests need, which may ask the network, and starts them.
func outside(prepare []func() error) (int, error) {
	if os.Getenv(ProgramVariable) == "" {
		path, err := build()
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(filepath.Dir(path))
		os.Setenv(ProgramVariable, path)
	}
	for _, p := range prepare {
		if err := p(); err != nil {
			return 0, err
		}
	}
	os.Setenv(privateVariable, "1")
	return fabric.Private(os.Args...)
}
