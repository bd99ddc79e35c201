package address

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These tests run in network, mount and process namespaces of their own: what
// they make or leave running ends with them, whatever becomes of the test.
const (
	privateVariable = "ASHLAR_ADDRESS_PRIVATE"
	machineVariable = "ASHLAR_ADDRESS_MACHINE" // its name: this process is to be a daemon
	weakVariable    = "ASHLAR_ADDRESS_WEAK"    // a capability's number, to do without
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(weakVariable) != "":
		fail(weaken())
	case os.Getenv(machineVariable) != "":
		fail(daemon(os.Getenv(machineVariable)))
	case os.Getenv(privateVariable) != "":
		fail(enterPrivate())
		flag.Parse()
		flag.Set("test.parallel", "8") // most of them wait for the kernel
		os.Exit(m.Run())
	default:
		os.Exit(private())
	}
}

func fail(err error) {
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// private runs the tests again, as the first process of new namespaces, and as
// root there.
func private() int {
	runtime.LockOSThread() // the parent-death signal is sent when the thread ends
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), privateVariable+"=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "namespaces:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

func enterPrivate() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	return errors.Join(syscall.Mount("proc", "/proc", "proc", 0, ""), syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""))
}

// lab is one link, a bridge, with machines on it, and a host. Each has the
// addresses 10.1.0.K/24 and fd00:1::K/64 of its own, the host with K = 200.
type lab struct {
	*testing.T
	name string
}

const host = 200

var (
	fabric4  = netip.MustParsePrefix("10.1.0.0/24")
	fabric6  = netip.MustParsePrefix("fd00:1::/64")
	portal4  = Portal{netip.MustParseAddr("10.1.0.101"), fabric4}
	portal6  = Portal{netip.MustParseAddr("fd00:1::101"), fabric6}
	families = map[string]Portal{"IPv4": portal4, "IPv6": portal6}
)

var labs atomic.Int32

// newLab has the machines 1 to n.
func newLab(t *testing.T, n int) *lab {
	l := &lab{t, fmt.Sprintf("l%d", labs.Add(1))}
	l.ip("link", "add", "name", l.name, "up", "type", "bridge", "mcast_snooping", "0")
	t.Cleanup(func() { l.ip("link", "delete", l.name) })
	l.plug(host)
	for k := 1; k <= n; k++ {
		l.plug(k)
	}
	for k := 1; k <= n; k++ {
		l.eventually("the link is ready", 5*time.Second, func() bool { return l.reaches(k) })
	}
	return l
}

func (l *lab) space(k int) string { return fmt.Sprintf("%sm%d", l.name, k) }

func (l *lab) plug(k int) {
	s := l.space(k)
	l.ip("netns", "add", s)
	l.Cleanup(func() { l.ip("netns", "delete", s) })
	l.ip("link", "add", s, "up", "master", l.name, "type", "veth", "peer", "name", "eth0", "netns", s)
	l.ip("-n", s, "address", "add", fmt.Sprintf("10.1.0.%d/24", k), "dev", "eth0")
	l.ip("-n", s, "address", "add", fmt.Sprintf("fd00:1::%d/64", k), "dev", "eth0", "nodad")
	l.ip("-n", s, "link", "set", "eth0", "up")
	l.ip("-n", s, "link", "set", "lo", "up")
}

// reaches says whether the host reaches a machine, which refuses it.
func (l *lab) reaches(k int) bool {
	for _, format := range []string{"10.1.0.%d", "fd00:1::%d"} {
		_, err := l.dial(netip.MustParseAddr(fmt.Sprintf(format, k)), 100*time.Millisecond)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
	}
	return true
}

// unplug takes the machine's cable out: at both ends, the carrier is lost.
func (l *lab) unplug(k int) { l.ip("link", "set", l.space(k), "down") }

func (l *lab) replug(k int) { l.ip("link", "set", l.space(k), "up") }

func (l *lab) ip(args ...string) string {
	l.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		l.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// in runs do on a thread in the network of machine k. Sockets that it opens
// belong to it, and stay so.
func (l *lab) in(k int, do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + l.space(k))
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			f.Close()
		}
		if err == nil {
			err = do()
		}
		result <- err
	}()
	return <-result
}

// configured says whether the kernel of machine k has an address.
func (l *lab) configured(k int, address netip.Addr) bool {
	l.Helper()
	found := false
	if err := l.in(k, func() error {
		all, err := addresses()
		for _, c := range all {
			found = found || c.prefix.Addr() == address
		}
		return err
	}); err != nil {
		l.Fatal(err)
	}
	return found
}

// neighbour is the hardware address that the host has cached for an address.
func (l *lab) neighbour(address netip.Addr) string {
	l.Helper()
	fields := strings.Fields(l.ip("-n", l.space(host), "neighbor", "show", address.String()))
	for i, f := range fields {
		if f == "lladdr" {
			return fields[i+1]
		}
	}
	return ""
}

func (l *lab) mac(k int) string {
	l.Helper()
	fields := strings.Fields(l.ip("-n", l.space(k), "-o", "link", "show", "eth0"))
	for i, f := range fields {
		if f == "link/ether" {
			return fields[i+1]
		}
	}
	l.Fatal(fields)
	return ""
}

// dial connects the host with a portal.
func (l *lab) dial(address netip.Addr, timeout time.Duration) (conn net.Conn, err error) {
	err = l.in(host, func() (err error) {
		conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(address, port).String(), timeout)
		return err
	})
	return conn, err
}

// eventually waits for a condition, and says how long it took.
func (l *lab) eventually(what string, within time.Duration, condition func() bool) time.Duration {
	l.Helper()
	start := time.Now()
	for !condition() {
		if time.Since(start) > within {
			l.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}
