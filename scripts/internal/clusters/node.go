package clusters

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ashlar/appliance/api"
	"ashlar/target/targettest/initiator"
)

func here(_ int, name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }

// Node is one server.
type Node struct {
	c         *Cluster
	Number    int
	Name      string
	Dir       string
	Addresses []string
	Witness   bool

	process *exec.Cmd
	ended   chan struct{}
}

// iscsiPort is the daemon's default.
const iscsiPort = 3260

// Portals are where the node serves hosts.
func (n *Node) Portals() (all []string) {
	for _, a := range n.Addresses {
		all = append(all, a+":"+strconv.Itoa(iscsiPort))
	}
	return all
}

// Disk is the file that New gave the node for a disk.
func (n *Node) Disk() string { return filepath.Join(n.Dir, "disk") }

// Start runs the node's process and waits until it takes orders.
func (n *Node) Start() {
	n.c.t.Helper()
	n.launch()
	n.c.Eventually(20*time.Second, "node "+n.Name+" takes orders", func() bool { return n.Run("status").Code == 0 })
}

// launch only starts the process.
func (n *Node) launch() {
	n.c.t.Helper()
	log, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.c.t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"serve", "--dir", n.Dir, "--name", n.Name}, n.c.plan.Serve...)
	for _, a := range n.Addresses {
		args = append(args, "--address", a)
	}
	cmd := n.c.plan.Inside(n.Number, Program(n.c.t), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := startChild(cmd); err != nil {
		n.c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	n.process, n.ended = cmd, ended
}

// The log lies outside of the node's folder, which a test may put on a disk that
// forgets.
func (n *Node) logPath() string { return filepath.Join(n.c.logs, n.Name+".log") }

// Log is what the node's processes have logged so far.
func (n *Node) Log() string {
	text, err := os.ReadFile(n.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LogLines are the lines of the log that hold any of the words.
func (n *Node) LogLines(words ...string) (found []string) {
	for _, line := range strings.Split(n.Log(), "\n") {
		for _, w := range words {
			if strings.Contains(line, w) {
				found = append(found, line)
				break
			}
		}
	}
	return found
}

// LogSince are the lines of the log from a time on.
func (n *Node) LogSince(begin time.Time) (found []string) {
	from := "time=" + begin.Format("2006-01-02T15:04:05.000")
	for _, line := range n.LogLines("time=") {
		if line >= from {
			found = append(found, line)
		}
	}
	return found
}

// Runs tells whether the node's process has not ended.
func (n *Node) Runs() bool {
	select {
	case <-n.ended:
		return false
	default:
		return n.process != nil
	}
}

// Kill ends the process as a crash would.
func (n *Node) Kill() {
	n.c.t.Helper()
	if !n.Runs() {
		n.c.t.Fatalf("node %s has ended before it was killed", n.Name)
	}
	n.kill()
}

func (n *Node) kill() {
	if n.process == nil {
		return
	}
	n.process.Process.Kill()
	<-n.ended
}

// Stop tells the process to end, and waits until it has.
func (n *Node) Stop() {
	n.c.t.Helper()
	n.signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(30 * time.Second):
		n.c.t.Fatalf("node %s does not stop", n.Name)
	}
}

// Freeze stops the process (SIGSTOP) until Thaw.
func (n *Node) Freeze() { n.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (n *Node) Thaw() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) {
	n.c.t.Helper()
	if err := n.process.Process.Signal(s); err != nil {
		n.c.t.Fatalf("node %s: %v: %v", n.Name, s, err)
	}
}

// AwaitEnd waits until the process has ended by itself.
func (n *Node) AwaitEnd(timeout time.Duration) {
	n.c.t.Helper()
	n.c.Eventually(timeout, "node "+n.Name+" ends", func() bool { return !n.Runs() })
}

// ReplaceDisk gives the node an empty disk in the place of one that fails, once the cluster has agreed that it has.
func (n *Node) ReplaceDisk() {
	n.c.t.Helper()
	n.c.Eventually(30*time.Second, "the cluster knows that the disk of "+n.Name+" has failed", func() bool {
		var disks []api.Disk
		r := n.Run("disk", "list", "-o", "json")
		return r.Code == 0 && json.Unmarshal([]byte(r.Stdout), &disks) == nil && !slices.ContainsFunc(disks, func(d api.Disk) bool {
			return d.Node == n.Name && d.State != "failed"
		})
	})
	if err := os.Remove(n.Disk()); err != nil {
		n.c.t.Fatal(err)
	}
	n.Must("disk", "add", n.Disk(), "--size", n.c.plan.DiskSize)
}

// AwaitReady waits until the node may serve hosts.
func (n *Node) AwaitReady() {
	n.c.t.Helper()
	n.c.Eventually(30*time.Second, "node "+n.Name+" is ready", func() bool {
		r := n.Run("status", "-o", "json")
		var s api.Status
		return r.Code == 0 && json.Unmarshal([]byte(r.Stdout), &s) == nil && s.State == "ready"
	})
}

// MemoryBytes is what the process holds of the machine's memory (proc(5), VmRSS).
func (n *Node) MemoryBytes() uint64 {
	n.c.t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(n.process.Process.Pid) + "/status")
	if err != nil {
		n.c.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		n.c.t.Fatal(err)
	}
	return kib << 10
}

// serves tells whether HostIQN can log in to a target at the node.
func (n *Node) serves(target string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	s, err := initiator.Dial(ctx, n.Portals()[0], target, initiator.Options{Name: HostIQN, ISID: [6]byte{0x00, 0x02, 0x3d, 0, 3, 1}})
	if err != nil {
		return false
	}
	return s.Logout(ctx) == nil
}

// Result is what a command line came to.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// orderTimeout is for a whole command line; to compare a volume's copies takes longest.
const orderTimeout = 3 * time.Minute

// answerTimeout is for a question to a node that may be frozen.
const answerTimeout = 3 * time.Second

// Run gives the node an order through the command line.
func (n *Node) Run(args ...string) Result {
	timeout := orderTimeout
	if args[0] == "status" || len(args) > 1 && (args[1] == "show" || args[1] == "list") {
		timeout = answerTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, Program(n.c.t), append(args, "--dir", n.Dir)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.c.t.Fatal(err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Must gives an order that has to be carried out, and returns what it printed.
func (n *Node) Must(args ...string) string {
	n.c.t.Helper()
	r := n.Run(args...)
	if r.Code != 0 || r.Stderr != "" {
		n.c.t.Fatalf("%s: ashlar %s: status %d, %s%s", n.Name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Document reads an answer in JSON.
func Document[T any](n *Node, args ...string) (v T) {
	n.c.t.Helper()
	if err := json.Unmarshal([]byte(n.Must(append(args, "-o", "json")...)), &v); err != nil {
		n.c.t.Fatal(err)
	}
	return v
}

// startChild starts a process that the kernel kills when this one dies. That
// hangs on the thread which started it, so one thread starts them all.
func startChild(cmd *exec.Cmd) error {
	starting.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range starts {
				f()
			}
		}()
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	starts <- func() { done <- cmd.Start() }
	return <-done
}
