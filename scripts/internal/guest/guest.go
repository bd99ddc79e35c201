package guest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Up resumes the saved guest as number n (1 to 99) and returns once it answers.
// It leaves its files in state/gN; each fabric's bridge is named in bridges
// ("a", "b"). The guest has the addresses 10.1.0.(100+n) and 10.2.0.(100+n).
func Up(n int, saved, state string, bridges map[string]string) error {
	dir := filepath.Join(state, fmt.Sprintf("g%d", n))
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(dir, 0o755), makeTaps(n)); err != nil {
		return err
	}
	args := append(machineArguments(n, filepath.Join(saved, "ram"), true),
		"-monitor", "unix:"+path("monitor")+",server=on,wait=off",
		"-chardev", "socket,id=console,path="+path("console")+",server=on,wait=off,logfile="+path("console.log"),
		"-serial", "chardev:console", "-incoming", "defer")
	machine, err := start(args, path("qemu.log"))
	if err != nil {
		return err
	}
	if err := resume(machine, n, saved, path, bridges); err != nil {
		machine.kill()
		return fmt.Errorf("guest %d: %w", n, err)
	}
	// Tells removeOthers that this saved guest is in use.
	now := time.Now()
	os.Chtimes(filepath.Join(saved, "state"), now, now)
	return os.WriteFile(path("pid"), []byte(strconv.Itoa(machine.cmd.Process.Pid)), 0o644)
}

func resume(machine *process, n int, saved string, path func(string) string, bridges map[string]string) error {
	if err := ip("address", "add", fmt.Sprintf("10.9.%d.1/24", n), "dev", tapName(n, "m")); err != nil {
		return err
	}
	for nic, bridge := range bridges {
		if err := ip("link", "set", tapName(n, nic), "master", bridge); err != nil {
			return err
		}
	}
	if err := machine.await(resumeTimeout, "monitor", func() bool { return exists(path("monitor")) }); err != nil {
		return err
	}
	said, err := monitor(path("monitor"), resumeTimeout, "migrate_set_capability x-ignore-shared on",
		fmt.Sprintf("migrate_incoming \"exec:cat '%s'\"", filepath.Join(saved, "state")))
	if err != nil {
		return err
	}
	if err := machine.await(resumeTimeout, "end of the loading", func() bool {
		status, err := monitor(path("monitor"), resumeTimeout, "info status")
		return err == nil && strings.Contains(status, "VM status: running")
	}); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	console, err := net.Dial("unix", path("console"))
	if err != nil {
		return err
	}
	defer console.Close()
	if _, err := fmt.Fprintf(console, "\n\nguest %d %d\n", n, time.Now().Unix()); err != nil {
		return err
	}
	return machine.await(resumeTimeout, "agent", func() bool {
		conn, err := net.DialTimeout("tcp", agentAddress(n), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func agentAddress(n int) string { return fmt.Sprintf("10.9.%d.2:7", n) }

// Down ends guest n at once, as a power cut would.
func Down(n int, state string) error {
	dir := filepath.Join(state, fmt.Sprintf("g%d", n))
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for _, nic := range nics {
		// QEMU holds the tap until it is gone.
		deadline := time.Now().Add(10 * time.Second)
		for err = ip("link", "del", tapName(n, nic)); err != nil; err = ip("link", "del", tapName(n, nic)) {
			if time.Now().After(deadline) {
				return err
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return os.RemoveAll(dir)
}

// exitLine ends the agent's answer.
const exitLine = "\n@exit "

// Run runs a shell script in guest n, copies its output to out as it comes, and
// returns its exit code. An error means that the guest did not tell one.
func Run(n int, script io.Reader, out io.Writer) (int, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 8,
	}}
	conn, err := dialer.Dial("tcp", agentAddress(n))
	if err != nil {
		return 0, fmt.Errorf("guest %d does not answer: %w", n, err)
	}
	defer conn.Close()
	if _, err := io.Copy(conn, script); err != nil {
		return 0, err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	return copyOutput(bufio.NewReader(conn), out)
}

// copyOutput holds back each newline until it knows that the exit line does not
// follow, since the agent puts one of its own before that.
func copyOutput(in *bufio.Reader, out io.Writer) (int, error) {
	var held []byte
	for {
		line, err := in.ReadBytes('\n')
		if code, found := bytes.CutPrefix(append(held, line...), []byte(exitLine)); found {
			return strconv.Atoi(strings.TrimSpace(string(code)))
		}
		if _, err := out.Write(held); err != nil {
			return 0, err
		}
		if err != nil {
			out.Write(line)
			return 0, fmt.Errorf("the guest ended in the midst of the script: %w", err)
		}
		text := bytes.TrimSuffix(line, []byte("\n"))
		if _, err := out.Write(text); err != nil {
			return 0, err
		}
		held = []byte("\n")
	}
}

// CacheDir is where what is built once is kept: $ASHLAR_LAB_CACHE, or ashlar-lab in the
// user's cache directory.
func CacheDir() (string, error) { return cacheDir() }
