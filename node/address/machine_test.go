package address

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ashlar/node/address/claim"
	"ashlar/target/boottime"
)

const port = 3260

// A daemon is a process of its own. It reads orders, a line each:
//
//	hold ADDRESS,FABRIC ...   all that it is to hold
//	grant NS                  a renewal of the lease that was sent then, by CLOCK_BOOTTIME
//	known PORTAL HOST         a connection that a host had at another machine
//	quit
//
// and writes "error TEXT", or "holdings JSON" whenever they change. At the
// addresses it listens, greets with its name, and answers what it is told.
const leaseLength = int64(1_500_000_000) // as node/lease

type report struct {
	Address   netip.Addr
	Interface string
	State     claim.State
	Conflicts int
	Problem   string
}

func daemon(name string) error {
	var lease atomic.Int64
	var k *Keeper
	changed := make(chan struct{}, 1)
	connections := &connections{all: map[net.Conn]bool{}}
	k, err := Open(Config{Lease: lease.Load, Drop: connections.drop, Connections: connections.knownAt, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Changed: func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		return err
	}
	for _, p := range families {
		listener, err := Listen(context.Background(), netip.AddrPortFrom(p.Address, port))
		if errors.Is(err, syscall.EADDRINUSE) { // another daemon's of this machine
			continue
		}
		if err != nil {
			return err
		}
		go connections.serve(name, listener)
	}
	fmt.Println("ready")
	go tell(k, changed)
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		fields := strings.Fields(orders.Text())
		switch fields[0] {
		case "hold":
			k.Hold(portals(fields[1:]))
		case "grant":
			sent, _ := strconv.ParseInt(fields[1], 10, 64)
			lease.Store(max(lease.Load(), sent+leaseLength))
		case "known":
			connections.know(Connection{netip.MustParseAddrPort(fields[1]), netip.MustParseAddrPort(fields[2])})
		case "quit":
			k.Close()
			return nil
		}
	}
	return orders.Err()
}

func tell(k *Keeper, changed chan struct{}) {
	for range changed {
		var reports []report
		for _, h := range k.Holdings() {
			reports = append(reports, report{h.Address, h.Interface, h.State, h.Conflicts, text(h.Problem)})
		}
		b, err := json.Marshal(reports)
		fail(err)
		fmt.Printf("holdings %s\n", b)
	}
}

func portals(texts []string) (all []Portal) {
	for _, t := range texts {
		address, fabric, _ := strings.Cut(t, ",")
		all = append(all, Portal{netip.MustParseAddr(address), netip.MustParsePrefix(fabric)})
	}
	return all
}

// connections are those of a daemon with hosts.
type connections struct {
	mu    sync.Mutex
	all   map[net.Conn]bool
	known []Connection // of others
}

func (c *connections) know(k Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = append(c.known, k)
}

func (c *connections) knownAt(address netip.Addr) (known []Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.known {
		if k.Portal.Addr() == address {
			known = append(known, k)
		}
	}
	return known
}

func (c *connections) serve(name string, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		fail(err)
		c.mu.Lock()
		c.all[conn] = true
		c.mu.Unlock()
		go func() {
			fmt.Fprintln(conn, name)
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				fmt.Fprintln(conn, lines.Text())
			}
		}()
	}
}

// drop resets what is connected with an address.
func (c *connections) drop(address netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.all {
		if conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr() == address {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
			delete(c.all, conn)
		}
	}
}

// weaken begins the process anew without a capability.
func weaken() error {
	runtime.LockOSThread()
	capability, _ := strconv.Atoi(os.Getenv(weakVariable))
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0); err != nil {
		return err
	}
	os.Unsetenv(weakVariable)
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// machine is the test's end of a daemon.
type machine struct {
	*lab
	k       int
	process *exec.Cmd
	ready   chan struct{} // closed when it has begun, or will not
	ended   chan struct{}

	mu       sync.Mutex
	orders   *os.File
	granting bool
	holdings []report
	errors   string
	told     []Portal // what it was last told to hold, by a cluster
}

// start starts a daemon on machine k, whose lease is granted until it is fenced.
func (l *lab) start(k int, environment ...string) *machine {
	l.Helper()
	m := &machine{lab: l, k: k, granting: true, ready: make(chan struct{}), ended: make(chan struct{})}
	m.process = exec.Command("ip", "netns", "exec", l.space(k), "/proc/self/exe")
	m.process.Args[len(m.process.Args)-1] = executable()
	m.process.Env = append(os.Environ(), append(environment, machineVariable+"="+strconv.Itoa(k))...)
	m.process.Stderr = testWriter{l.T, k}
	in, orders, err := os.Pipe()
	if err != nil {
		l.Fatal(err)
	}
	m.process.Stdin, m.orders = in, orders
	out, err := m.process.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := m.process.Start(); err != nil {
		l.Fatal(err)
	}
	in.Close()
	go m.read(bufio.NewScanner(out))
	stop := make(chan struct{})
	go m.grant(stop)
	l.Cleanup(func() {
		close(stop)
		m.process.Process.Kill()
		<-m.ended
	})
	<-m.ready
	return m
}

func executable() string {
	path, err := os.Executable()
	fail(err)
	return path
}

func (m *machine) read(lines *bufio.Scanner) {
	ready := sync.OnceFunc(func() { close(m.ready) })
	defer close(m.ended)
	defer m.process.Wait()
	defer ready()
	for lines.Scan() {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		m.mu.Lock()
		switch kind {
		case "ready":
			ready()
		case "holdings":
			m.holdings = nil
			if err := json.Unmarshal([]byte(rest), &m.holdings); err != nil {
				m.errors = err.Error()
			}
		case "error":
			m.errors = rest
		}
		m.mu.Unlock()
	}
}

func (m *machine) grant(stop chan struct{}) {
	for {
		m.mu.Lock()
		if m.granting {
			fmt.Fprintf(m.orders, "grant %d\n", boottime.Now())
		}
		m.mu.Unlock()
		select {
		case <-stop:
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (m *machine) lease(granting bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.granting = granting
}

func (m *machine) order(format string, args ...any) {
	m.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := fmt.Fprintf(m.orders, format+"\n", args...); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) hold(portals ...Portal) {
	m.Helper()
	line := "hold"
	for _, p := range portals {
		line += fmt.Sprintf(" %s,%s", p.Address, p.Fabric)
	}
	m.order("%s", line)
}

// look is what the daemon last said of an address.
func (m *machine) look(p Portal) report {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.holdings {
		if r.Address == p.Address {
			return r
		}
	}
	return report{}
}

func (m *machine) holds(portals ...Portal) bool {
	for _, p := range portals {
		if m.look(p).State != claim.Held {
			return false
		}
	}
	return true
}

// take has the daemon hold addresses, and waits until it does.
func (m *machine) take(portals ...Portal) time.Duration {
	m.Helper()
	m.hold(portals...)
	return m.eventually(fmt.Sprintf("machine %d holds %v", m.k, portals), 5*time.Second, func() bool { return m.holds(portals...) })
}

func (m *machine) signal(s syscall.Signal) {
	m.Helper()
	if err := m.process.Process.Signal(s); err != nil {
		m.Fatal(err)
	}
}

// kill ends the daemon as the kernel would.
func (m *machine) kill() {
	m.signal(syscall.SIGKILL)
	<-m.ended
}

type testWriter struct {
	t *testing.T
	k int
}

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("machine %d: %s", w.k, strings.TrimSpace(string(b)))
	return len(b), nil
}
