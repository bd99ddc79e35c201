package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	bootTimeout   = 3 * time.Minute
	saveTimeout   = 5 * time.Minute
	resumeTimeout = time.Minute
)

// Boot starts the machine that was built with a kernel in dir, waits until its first process
// says READY, and saves it there. It wants a network of its own for the taps.
func Boot(k Kernel, dir string) error {
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := makeTaps(0); err != nil {
		return err
	}
	args := append(machineArguments(0, path("ram"), false),
		"-kernel", path("vmlinux"), "-initrd", path("initrd"), "-append", k.arguments(),
		"-serial", "file:"+path("console"), "-monitor", "unix:"+path("monitor")+",server=on,wait=off")
	machine, err := start(args, path("qemu.log"))
	if err != nil {
		return err
	}
	defer machine.kill()
	if err := machine.await(bootTimeout, "READY on the console", func() bool {
		console, err := os.ReadFile(path("console"))
		return err == nil && bytes.Contains(console, []byte("\nREADY"))
	}); err != nil {
		return err
	}
	_, err = monitor(path("monitor"), saveTimeout, "migrate_set_capability x-ignore-shared on",
		fmt.Sprintf("migrate \"exec:cat >'%s'\"", path("state")), "quit")
	if err != nil {
		return err
	}
	machine.kill() // in the midst of its end, at most
	if info, err := os.Stat(path("state")); err != nil || info.Size() == 0 {
		return fmt.Errorf("QEMU saved no state: %w", err)
	}
	return nil
}

// makeTaps makes the interfaces of guest n and sets them up.
func makeTaps(n int) error {
	for _, nic := range nics {
		name := tapName(n, nic)
		if err := errors.Join(ip("tuntap", "add", name, "mode", "tap"), ip("link", "set", name, "up")); err != nil {
			return err
		}
	}
	return nil
}

func ip(args ...string) error { return run(exec.Command("ip", args...)) }

// process is a QEMU that runs.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed when it has ended
}

func start(args []string, log string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		cmd.Wait() // how it ended shows in its log and in what it no longer does
		close(p.ended)
	}()
	return p, nil
}

func (p *process) kill() {
	p.cmd.Process.Kill() // an error means that it has ended, which is what is wanted
	<-p.ended
}

// await waits until condition holds, and fails when the machine ends first.
func (p *process) await(timeout time.Duration, what string, condition func() bool) error {
	deadline := time.After(timeout)
	for !condition() {
		select {
		case <-p.ended:
			said, _ := os.ReadFile(p.log)
			return fmt.Errorf("QEMU ended before %s: %s", what, tail(said))
		case <-deadline:
			return fmt.Errorf("no %s within %v", what, timeout)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
