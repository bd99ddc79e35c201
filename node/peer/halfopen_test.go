package peer

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHalfOpenSessionEnds cuts the cable of two connected networks: no byte and no
// farewell passes any more. It runs itself in a network namespace of its own,
// whose loopback interface is the cable.
func TestHalfOpenSessionEnds(t *testing.T) {
	t.Parallel()
	const inside = "ASHLAR_TEST_HALF_OPEN"
	if os.Getenv(inside) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root for a network namespace")
		}
		c := exec.Command(os.Args[0], "-test.run=^TestHalfOpenSessionEnds$", "-test.v")
		c.Env = append(os.Environ(), inside+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	cable(t, true)
	node := authority(t, cluster)
	a := listen(t, node(1), "127.0.0.1:0", nil)
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		n.Handle(Data, func(*Session, uint16, []byte) {})
	})
	busy := connect(t, a, b, Data)
	a.await(t, "an idle session", is(Connected, 2, Control, true))
	cable(t, false)
	cut := time.Now()
	if err := busy.Send(Frame{Body: make([]byte, 4096)}); err != nil {
		t.Fatal(err)
	}
	for _, class := range []Class{Data, Control} {
		a.await(t, "lost", is(Lost, 2, class, true))
		b.await(t, "lost", is(Lost, 1, class, false))
	}
	if took := time.Since(cut); took > 3*silenceMax {
		t.Errorf("noticed after %v", took)
	} else {
		t.Logf("noticed after %v", took)
	}
	a.await(t, "unreachable", is(Unreachable, 2, Control, true))
	for _, e := range a.events {
		if e.Kind == Refused {
			t.Errorf("a cut cable was taken for a proof of death: %v", e.Err)
		}
	}
}

func cable(t *testing.T, up bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if up {
		request.SetUint16(unix.IFF_UP)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		t.Fatal(err)
	}
}
