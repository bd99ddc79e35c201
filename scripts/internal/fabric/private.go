// Package fabric makes the lab's network: two fabrics as in a storage network,
// nodes as network namespaces with an address on each, cuts between them. All of
// it lives in namespaces of its own and ends with the command it was made for.
package fabric

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// Private runs args in network, mount and process namespaces of their own, as
// root there whoever the caller is. What it leaves running ends with it. It
// returns the exit code.
func Private(args ...string) (int, error) {
	// The parent-death signal is sent when the thread ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := PrivateCommand(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("namespaces: %w", err)
	}
	// The terminal signals the whole group: the child decides how to end.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		if _, ok := <-signals; ok {
			cmd.Process.Kill()
		}
	}()
	return exitCode(cmd.Wait())
}

// PrivateCommand is the command that Private runs, for callers that want its
// output. args[0] must call EnterPrivate before anything else.
func PrivateCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if uid := os.Getuid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	return cmd
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// EnterPrivate is called by the first process of the new namespaces: mounts of
// its own for /proc and for what `ip netns` and daemons keep in /run.
func EnterPrivate() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for target, kind := range map[string]string{"/proc": "proc", "/run": "tmpfs"} {
		if err := syscall.Mount(kind, target, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	return ip("link", "set", "lo", "up")
}

// RunAndReap runs args as the first process's only child, buries orphans until
// it ends, and returns its exit code. The kernel kills what is left then.
func RunAndReap(args ...string) (int, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	child, err := os.StartProcess(path, args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR || err == nil && pid != child.Pid:
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}
