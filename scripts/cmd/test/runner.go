package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/guest"
)

// stepTimeout ends a command that hangs in spite of its own limits.
const (
	stepTimeout     = 40 * time.Minute
	stepTimeoutLong = 90 * time.Minute
)

// runner carries out one step.
type runner struct {
	ctx      context.Context // ends when the person says so
	log      string          // all that the step's commands print, with the commands
	scratch  string          // for what the steps build
	long     bool
	fuzzTime time.Duration   // of each fuzz target
	idle     bool            // its commands get what the others leave of the processors
	spare    <-chan struct{} // closed when the machine has room for a second lab
}

// run runs a step. A step that could not be carried out has failed.
func (r *runner) run(s step) tally {
	result, err := s.run(r)
	if err != nil {
		r.write([]byte(err.Error() + "\n"))
		result.failed = append(result.failed, s.name)
	}
	if result.passed+len(result.failed) == 0 {
		result.failed = append(result.failed, s.name+": there was nothing to run")
	}
	return result
}

func (r *runner) write(text []byte) {
	f, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
	}
}

// command starts a command whose standard error goes to the log, and hands its
// standard output to read. It returns once the command has ended.
func (r *runner) command(read func(io.Reader) error, args ...string) error {
	r.write([]byte("$ " + strings.Join(args, " ") + "\n"))
	if r.idle {
		args = append([]string{"chrt", "--idle", "0"}, args...)
	}
	log, err := os.OpenFile(r.log, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if r.long {
		cmd.Env = append(os.Environ(), "ASHLAR_TEST_LONG=1")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go r.guard(cmd.Process.Pid, ended)
	readErr := read(io.TeeReader(out, log))
	return errors.Join(readErr, cmd.Wait())
}

// guard ends a command's process group when it takes too long or the person
// asks for it.
func (r *runner) guard(pid int, ended <-chan struct{}) {
	most := stepTimeout
	if r.long {
		most = stepTimeoutLong
	}
	select {
	case <-ended:
		return
	case <-r.ctx.Done():
		r.write([]byte("interrupted\n"))
	case <-time.After(most):
		r.write([]byte("ended after " + most.String() + "\n"))
	}
	syscall.Kill(-pid, syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// output runs a command and returns its standard output.
func (r *runner) output(args ...string) (string, error) {
	var out bytes.Buffer
	err := r.command(func(in io.Reader) error {
		_, err := io.Copy(&out, in)
		return err
	}, args...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// checks runs commands that say by their exit code whether all is well. Each
// counts as one test.
func (r *runner) checks(commands ...[]string) (tally, error) {
	var result tally
	for _, args := range commands {
		if _, err := r.output(args...); err != nil {
			args[0] = filepath.Base(args[0])
			result.failed = append(result.failed, strings.Join(args, " "))
			continue
		}
		result.passed++
	}
	return result, nil
}

// packages are the import paths of the module's packages that wanted accepts.
func (r *runner) packages(wanted func(pkg string) bool) ([]string, error) {
	out, err := r.output("go", "list", "./...")
	if err != nil {
		return nil, err
	}
	var chosen []string
	for _, pkg := range strings.Fields(out) {
		if wanted(pkg) {
			chosen = append(chosen, pkg)
		}
	}
	return chosen, nil
}

// goTest runs `go test` and counts its tests one by one.
func (r *runner) goTest(args ...string) (tally, error) {
	return r.countTests(append([]string{"go", "test", "-json"}, args...)...)
}

// raceTest runs the tests of packages under the race detector, with -short
// unless there is time.
func (r *runner) raceTest(packages ...string) (tally, error) {
	// One package at a time: tests of nodes start many of them, and hosts are dropped,
	// disks suspended, where a process stands still for a second.
	args := []string{"-race", "-p=1", "-parallel=3", "-timeout=20m"}
	if !r.long {
		args = append(args, "-short")
	}
	return r.goTest(append(args, packages...)...)
}

// countTests runs a command that prints test events as JSON.
func (r *runner) countTests(args ...string) (tally, error) {
	c := newCounter()
	err := r.command(func(in io.Reader) error {
		lines := bufio.NewReader(in)
		for {
			line, err := lines.ReadBytes('\n')
			c.event(line)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}, args...)
	result := c.tally()
	if err != nil && len(result.failed) == 0 {
		return result, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return result, nil
}

// hosts is the package of the lab tests, in whose folder they run, as with `go test`.
const (
	hosts     = "scripts/hosts"
	newKernel = "TestNewKernel"
)

// inLab runs each of the lab tests that a pattern names in a lab of its own. Those of
// names that begin with newKernel have guests with the newer kernel.
func (r *runner) inLab(pattern string) (tally, error) {
	if err := os.MkdirAll(r.scratch, 0o755); err != nil {
		return tally{}, err
	}
	lab, tests, program := filepath.Join(r.scratch, "lab"), filepath.Join(r.scratch, "hosts.test"), filepath.Join(r.scratch, "ashlar")
	for _, build := range [][]string{
		{"env", "CGO_ENABLED=0", "go", "build", "-o", lab, "./scripts/cmd/lab"},
		{"env", "CGO_ENABLED=0", "go", "build", "-o", program, "./appliance/ashlar"},
		{"env", "CGO_ENABLED=0", "go", "test", "-c", "-tags", labTag, "-o", tests, "./" + hosts},
		{lab, "build"},
	} {
		if _, err := r.output(build...); err != nil {
			return tally{}, err
		}
	}
	names, err := r.output(tests, "-test.list", pattern)
	if err != nil {
		return tally{}, err
	}
	todo := make(chan string)
	results := make(chan tally)
	oneByOne := func() {
		for name := range todo {
			results <- r.labTest(name, tests, lab, "env", "-C", hosts, clusters.ProgramVariable+"="+program)
		}
	}
	all := strings.Fields(names)
	go func() {
		for _, name := range all {
			todo <- name
		}
		close(todo)
	}()
	go oneByOne()
	go func() {
		<-r.spare
		oneByOne()
	}()
	var result tally
	for range all {
		result.add(<-results)
	}
	return result, nil
}

// labTest runs one of the tests in a lab, with a log of its own.
func (r *runner) labTest(name, tests, lab string, environment ...string) tally {
	timeout := "15m"
	if r.long {
		timeout = "75m"
	}
	kernel := guest.Stable
	if strings.HasPrefix(name, newKernel) {
		kernel = guest.Backports
	}
	one := *r
	one.log = strings.TrimSuffix(r.log, ".log") + "." + name + ".log"
	result := one.run(step{name: name, run: func(r *runner) (tally, error) {
		return r.countTests(append(environment, guest.KernelVariable+"="+string(kernel), lab, "in", "go", "tool", "test2json", "-t", "-p", "hosts",
			tests, "-test.v=test2json", "-test.timeout="+timeout, "-test.run", "^"+name+"$")...)
	}})
	if len(result.failed) > 0 {
		result.output = one.excerpt(result)
	}
	return result
}

// excerpt is what a failed step has to show: the output of each failed test, or
// else the end of its log.
func (r *runner) excerpt(result tally) string {
	const most = 8000
	text := result.output
	if text == "" {
		log, err := os.ReadFile(r.log)
		if err != nil {
			return err.Error() + "\n"
		}
		text = string(log)
	}
	if len(text) > most {
		text = text[:most/2] + "\n[...]\n" + text[len(text)-most/2:]
	}
	return strings.TrimRight(text, "\n") + "\n"
}
