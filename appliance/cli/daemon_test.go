package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ashlar/node/freeport"
)

// The test binary is the program, too: with this variable set it runs a command
// line instead of tests. So the daemons are real processes of the code under test.
const asProgram = "ASHLAR_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Run(context.Background(), "test", os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	flag.Set("test.parallel", "6") // unless ordered: the tests mostly wait, for elections and leases
	os.Exit(m.Run())
}

// daemon is a node's process.
type daemon struct {
	t       *testing.T
	dir     string
	args    []string
	peer    string
	api     string
	process *exec.Cmd
	log     bytes.Buffer
	ended   chan struct{}
}

// newDaemon starts a node at 127.0.0.<host> with ports that nobody uses.
func newDaemon(t *testing.T, host int, more ...string) *daemon {
	t.Helper()
	ip := fmt.Sprintf("127.0.0.%d", host)
	free, err := freeport.Take([]string{ip}, 6)
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, port := range free {
		ports = append(ports, strconv.Itoa(int(port)))
	}
	dir, err := os.MkdirTemp("", "ashlar") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{t: t, dir: dir, peer: net.JoinHostPort(ip, ports[0]), args: []string{"serve", "--dir", dir, "--name", fmt.Sprintf("node%d", host),
		"--address", ip, "--peer-port", ports[0], "--gossip-port", ports[1], "--iscsi-port", ports[2],
		"--nvme-port", ports[3], "--nvme-discovery-port", ports[4], "--api-port", ports[5]}, api: "https://" + net.JoinHostPort(ip, ports[5])}
	d.args = append(d.args, more...)
	d.start()
	t.Cleanup(func() { d.end(syscall.SIGKILL) })
	return d
}

// start runs the process and waits until it takes orders.
func (d *daemon) start() {
	d.t.Helper()
	d.process = exec.Command(os.Args[0], d.args...)
	d.process.Env = append(os.Environ(), asProgram+"=1")
	d.process.Stderr = &d.log
	d.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.ended = make(chan struct{})
	go func() {
		d.process.Wait()
		close(d.ended)
	}()
	d.eventually("takes orders", func() bool { return d.run("status").code == 0 })
}

func (d *daemon) end(s syscall.Signal) {
	d.process.Process.Signal(s)
	<-d.ended
}

// eventually fails the test where something does not come true in time.
func (d *daemon) eventually(what string, ask func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ask(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.end(syscall.SIGKILL)
			d.t.Fatalf("the node never %s; its log:\n%s", what, d.log.String())
		}
	}
}

// result is what a command line came to.
type result struct {
	stdout, stderr string
	code           int
}

// command runs a command line in a process of its own.
func command(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
	c.Run() // its end is in ProcessState
	return result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

// run gives the node an order.
func (d *daemon) run(args ...string) result { return command("", append(args, "--dir", d.dir)...) }

// must gives an order that has to be carried out.
func (d *daemon) must(args ...string) string {
	d.t.Helper()
	r := d.run(args...)
	if r.code != 0 || r.stderr != "" {
		d.t.Fatalf("ashlar %s: status %d, %s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// refuses gives an order that has to fail with one sentence which holds all of
// the words.
func (d *daemon) refuses(order string, words ...string) {
	d.t.Helper()
	isRefused(d.t, order, d.run(strings.Fields(order)...), words...)
}

func isRefused(t *testing.T, order string, r result, words ...string) {
	t.Helper()
	if r.code == 0 || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "ashlar: ") {
		t.Errorf("ashlar %s: status %d, stdout %q, stderr %q; not one sentence and a non-zero status", order, r.code, r.stdout, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("ashlar %s: %q does not say %q", order, r.stderr, w)
		}
	}
}

// document reads an answer in JSON.
func document[T any](d *daemon, args ...string) (v T) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.must(append(args, "-o", "json")...)), &v); err != nil {
		d.t.Fatal(err)
	}
	return v
}

// path is a file in the node's folder.
func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }
