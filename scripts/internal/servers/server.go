package servers

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ashlar/scripts/internal/fabric"

	"golang.org/x/sys/unix"
)

//go:embed boot.sh
var bootScript string

// Server is a booted one, with the network of a node of the lab.
type Server struct {
	Name  string
	k     int
	cmd   *exec.Cmd
	init  int // its systemd's process, as seen from here
	group string
	said  *bytes.Buffer
}

// Boot starts server k, which must be a node of the fabric. work is a folder of its own,
// packageDir is /package there, and disks are by name in /dev the block devices that it has.
func Boot(k int, work, packageDir string, disks map[string]string) (*Server, error) {
	root, err := rootDir()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("%w: `lab build` makes it", err)
	}
	var devices strings.Builder
	for name, path := range disks {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(&devices, "%s %d %d\n", name, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	// A control group of its own, so that it sees and has nothing but what is below.
	group, err := controlGroup(fmt.Sprintf("ashlar-lab-%d-%d", os.Getpid(), k))
	if err != nil {
		return nil, err
	}
	s := &Server{Name: fmt.Sprintf("n%d", k), k: k, group: group, said: &bytes.Buffer{}}
	apart := fabric.Command(k, "unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child", "sh", "-c", bootScript)
	s.cmd = exec.Command("sh", append([]string{"-c", `echo $$ >"$GROUP/cgroup.procs" && exec "$@"`, "sh"}, apart.Args...)...)
	s.cmd.Env = append(os.Environ(), "GROUP="+group, "LOWER="+root, "WORK="+work, "NAME="+s.Name, "PACKAGE="+packageDir, "DISKS="+devices.String())
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, s.await(60 * time.Second)
}

// controlGroup makes a group in the unified hierarchy (cgroups(7)), which is mounted for it
// where only the old ones are.
func controlGroup(name string) (string, error) {
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(at, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			dir := filepath.Join(at, name)
			return dir, os.MkdirAll(dir, 0o755)
		}
	}
	const at = "/run/ashlar-lab-cgroup"
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("cgroup2", at, "cgroup2", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return "", fmt.Errorf("mount cgroup2: %w", err)
	}
	dir := filepath.Join(at, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// await waits until systemd has started what is to be started.
func (s *Server) await(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		if s.init == 0 {
			s.init = onlyChild(s.cmd.Process.Pid)
		}
		if s.init != 0 {
			out, code := s.Try("systemctl is-system-running")
			if state := strings.TrimSpace(out); state == "running" {
				return nil
			} else if state == "degraded" {
				failed, _ := s.Try("systemctl --failed --plain --no-legend")
				return fmt.Errorf("%s: some units failed: %s", s.Name, failed)
			} else if time.Now().After(deadline) {
				return errors.Join(fmt.Errorf("%s: not up within %v: %s (%d)\n%s", s.Name, timeout, state, code, s.said), s.Kill())
			}
		} else if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s: not up within %v\n%s", s.Name, timeout, s.said), s.Kill())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// onlyChild follows `ip netns exec sh` and unshare, which became one process, to the
// one that it forked into the new namespaces.
func onlyChild(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	child := 0
	if err == nil {
		fmt.Sscan(string(text), &child)
	}
	return child
}

// Try runs a shell script on the server: its output, errors included, and its exit code.
func (s *Server) Try(script string) (string, int) {
	cmd := exec.Command("nsenter", "--target", fmt.Sprint(s.init), "--all", "--root", "--wd", "/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "HOME=/root", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Kill cuts the server's power.
func (s *Server) Kill() error {
	err := s.cmd.Process.Kill()
	s.cmd.Wait()
	// Groups go once nothing is in them, the innermost first.
	var groups []string
	filepath.WalkDir(s.group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	deadline := time.Now().Add(5 * time.Second)
	for _, group := range slices.Backward(groups) {
		for os.Remove(group) != nil && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return err
}
