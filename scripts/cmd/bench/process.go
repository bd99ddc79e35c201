package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is what is measured: one process or several, at an iSCSI address.
type server struct {
	address string // ip:port
	iqn     string
	units   []string // names of targets that sessions go to in turn; none: iqn
	lun     int
	pids    []int
}

func (s *server) url() string { return fmt.Sprintf("iscsi://%s/%s/%d", s.address, s.iqn, s.lun) }

// clockTicks is the unit of times in /proc, per second (sysconf(_SC_CLK_TCK)),
// which Linux fixes for programs.
const clockTicks = 100

// processor is the time that the server's processes have used.
func (s *server) processor() (time.Duration, error) {
	var ticks uint64
	for _, pid := range s.pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The name, in parentheses, may hold anything (proc_pid_stat(5)).
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] { // utime, stime
			n, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

// resident is the memory of the server's processes, bytes.
func (s *server) resident() (sum uint64, err error) {
	for _, pid := range s.pids {
		statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			return 0, err
		}
		pages, err := strconv.ParseUint(strings.Fields(string(statm))[1], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += pages * uint64(os.Getpagesize())
	}
	return sum, nil
}

// observed adds to a client's sample what its server used meanwhile.
func (s *server) observed(work func() (sample, error)) (sample, error) {
	before, err := s.processor()
	if err != nil {
		return sample{}, err
	}
	m, err := work()
	if err != nil {
		return m, err
	}
	after, err := s.processor()
	if err != nil {
		return m, err
	}
	m.cores = float64(after-before) / float64(m.took)
	if m.rate > 0 {
		m.cpu = float64((after - before).Microseconds()) / max(1, m.rate*m.took.Seconds())
	}
	m.memory, err = s.resident()
	return m, err
}

// bench owns the processes and files of one run.
type bench struct {
	options
	scratch string // in the folder of the durable cases
	memory  string // in tmpfs
	started []*exec.Cmd
	tgt     int // control ports given out

	units      *memoryUnits
	both       *nvmeUnit
	tgtDisk    *server
	clusters   map[clusterKind]*cluster
	grownNodes map[string]*cluster
	files      map[string]string // by name, in scratch
	results    map[string]result // of cases that were measured
	echo       string            // address of the responder; "" before it was needed
	echoServer *server
}

func newBench(o options, folder string) (b *bench, err error) {
	b = &bench{options: o, clusters: map[clusterKind]*cluster{}, grownNodes: map[string]*cluster{}, files: map[string]string{}, results: map[string]result{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.end())
		}
	}()
	if b.scratch, err = os.MkdirTemp(folder, "ashlar-bench-"); err != nil {
		return b, err
	}
	if b.scratch, err = filepath.Abs(b.scratch); err != nil {
		return b, err
	}
	b.memory, err = os.MkdirTemp("/dev/shm", "ashlar-bench-")
	return b, err
}

// end ends what was started, and removes what it kept.
func (b *bench) end() (err error) {
	for _, c := range b.started {
		c.Process.Kill()
		c.Wait()
	}
	b.started = nil
	for _, folder := range []string{b.scratch, b.memory} {
		if folder != "" {
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}
	return err
}

// start runs a process until the benchmark ends. Its log is a file of the name
// in the scratch folder.
func (b *bench) start(name string, args ...string) (pid int, out io.Reader, err error) {
	log, err := os.Create(filepath.Join(b.scratch, filepath.Base(name)+".log"))
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	c := exec.Command(name, args...)
	c.Stderr = log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if out, err = c.StdoutPipe(); err != nil {
		return 0, nil, err
	}
	if err := c.Start(); err != nil {
		return 0, nil, err
	}
	b.started = append(b.started, c)
	return c.Process.Pid, out, nil
}

// stop kills a process that start started.
func (b *bench) stop(pid int) error {
	for i, c := range b.started {
		if c.Process.Pid == pid {
			b.started = slices.Delete(b.started, i, i+1)
			err := c.Process.Kill()
			c.Wait() //nolint:errcheck // it was killed
			return err
		}
	}
	return fmt.Errorf("no process %d was started", pid)
}

// sibling is a program that was built beside this one.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), name), err
}

const unitBytes = 256 << 20 // of each unit in memory

// ours serves a memory device by our front end.
func (b *bench) ours() (*server, error) {
	name, err := sibling("memtarget")
	if err != nil {
		return nil, err
	}
	pid, out, err := b.start(name, "-size", strconv.Itoa(unitBytes))
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("memtarget: %w", err)
	}
	parts := strings.Split(strings.TrimPrefix(strings.TrimSpace(line), "iscsi://"), "/")
	if len(parts) != 3 {
		return nil, fmt.Errorf("memtarget says %q", line)
	}
	return &server{address: parts[0], iqn: parts[1], pids: []int{pid}}, nil
}

// tgtd serves a file by Debian's target.
func (b *bench) tgtd(port uint16, args ...string) (*server, error) {
	b.tgt++
	control := strconv.Itoa(os.Getpid()%30000 + b.tgt)
	s := &server{address: fmt.Sprintf("127.0.0.1:%d", port), iqn: "iqn.2026-11.com.example:tgt", lun: 1}
	pid, _, err := b.start("tgtd", "-f", "-C", control, "--iscsi", "portal="+s.address)
	if err != nil {
		return nil, err
	}
	s.pids = []int{pid}
	admin := func(args ...string) error {
		out, err := exec.Command("tgtadm", append([]string{"-C", control, "--lld", "iscsi", "--op"}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("tgtadm %v: %w: %s", args, err, out)
		}
		return nil
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = admin("new", "--mode", "target", "--tid", "1", "-T", s.iqn); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return s, errors.Join(
		admin(append([]string{"new", "--mode", "logicalunit", "--tid", "1", "--lun", "1"}, args...)...),
		admin("bind", "--mode", "target", "--tid", "1", "-I", "ALL"))
}
