package address

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ashlar/node/address/claim"
	"ashlar/node/address/frame"
	"ashlar/target/boottime"
)

// call connects the host with a portal and says which machine answered.
func (l *lab) call(p Portal, timeout time.Duration) (net.Conn, string) {
	conn, err := l.dial(p.Address, timeout)
	if err != nil {
		return nil, err.Error()
	}
	l.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return nil, err.Error()
	}
	return conn, strings.TrimSpace(line)
}

// connect is a call that one machine answers.
func (l *lab) connect(p Portal, m *machine) net.Conn {
	l.Helper()
	conn, name := l.call(p, 4*time.Second) // long enough for a SYN to be sent again
	if name != fmt.Sprint(m.k) {
		l.Fatalf("machine %d does not answer at %s: %s", m.k, p.Address, name)
	}
	return conn
}

// session keeps talking through a connection, and says how it ended.
func session(conn net.Conn) chan error {
	end := make(chan error, 2)
	go func() {
		for {
			if _, err := fmt.Fprintln(conn, "still there?"); err != nil {
				end <- err
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	go func() {
		b := make([]byte, 64)
		for {
			if _, err := conn.Read(b); err != nil {
				end <- err
				return
			}
		}
	}()
	return end
}

func TestAHostOfADeadMachineIsResetAndReachesTheNextHolder(t *testing.T) {
	t.Parallel()
	for family, p := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			one, two := l.start(1), l.start(2)
			one.take(p)
			conn := l.connect(p, one)
			end := session(conn)
			l.unplug(1) // first: a process that dies says goodbye
			one.kill()
			start := time.Now()
			two.take(p)
			held := time.Since(start)
			if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("the old connection ended with: %v", err)
			}
			reset := time.Since(start)
			l.connect(p, two)
			if reset > 2*time.Second {
				t.Errorf("the host was reset only after %v", reset)
			}
			t.Logf("held after %v, host reset after %v, served after %v", held, reset, time.Since(start))
		})
	}
}

// Its peer has acknowledged all that it sent: TCP has nothing to send again.
func TestAHostThatOnlyWaitsIsResetToo(t *testing.T) {
	t.Parallel()
	for family, p := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			one, two := l.start(1), l.start(2)
			one.take(p)
			conn := l.connect(p, one)
			two.order("known %s %s", conn.RemoteAddr(), conn.LocalAddr())
			l.unplug(1)
			one.kill()
			two.take(p)
			start := time.Now()
			conn.SetReadDeadline(start.Add(3 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
			t.Logf("reset %v after the takeover", time.Since(start))
		})
	}
}

func TestAStaleNeighbourEntryIsReplacedWithoutBeingAsked(t *testing.T) {
	t.Parallel()
	for family, p := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			one, two := l.start(1), l.start(2)
			one.take(p)
			l.connect(p, one).Close()
			if l.neighbour(p.Address) != l.mac(1) {
				t.Fatal("the host does not know who holds it")
			}
			l.unplug(1)
			one.kill()
			two.hold(p)
			took := l.eventually("the host has learned the new hardware address", time.Second, func() bool {
				return l.neighbour(p.Address) == l.mac(2)
			})
			t.Logf("learned after %v", took)
		})
	}
}

func TestAFrozenDaemonsKernelGivesUpItsAddresses(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	one, two := l.start(1), l.start(2)
	one.take(portal4, portal6)
	ends := []chan error{session(l.connect(portal4, one)), session(l.connect(portal6, one))}
	one.signal(syscall.SIGSTOP)
	one.lease(false)
	start := time.Now()
	two.hold(portal4, portal6)
	for family, p := range families {
		l.eventually(family+" is contested", time.Second, func() bool { return two.look(p).State == claim.Contested })
		if r := two.look(p); !strings.Contains(r.Problem, l.mac(1)) {
			t.Errorf("does not say who has it: %s", r.Problem)
		}
	}
	l.eventually("machine 2 holds them", 5*time.Second, func() bool {
		for _, p := range families {
			if two.holds(p) && l.configured(1, p.Address) {
				t.Fatalf("both have %s", p.Address)
			}
		}
		return two.holds(portal4, portal6)
	})
	t.Logf("taken over after %v", time.Since(start))
	for _, end := range ends {
		if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection with the frozen daemon ended with: %v", err)
		}
	}
	t.Logf("hosts were reset after %v", time.Since(start))
	l.connect(portal4, two)
	l.connect(portal6, two)
	one.signal(syscall.SIGCONT)
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if l.configured(1, portal4.Address) || l.configured(1, portal6.Address) {
			t.Fatal("a machine without a lease took an address back")
		}
	}
	l.eventually("machine 1 says that it holds nothing", time.Second, func() bool {
		return one.look(portal4).State == claim.Waiting && one.look(portal6).State == claim.Waiting
	})
}

func TestOfTwoMachinesThatWantAnAddressOneHasIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	one, two := l.start(1), l.start(2)
	one.hold(portal4, portal6)
	two.hold(portal4, portal6)
	for family, p := range families {
		l.eventually(family+" has a holder", 2*time.Second, func() bool { return one.holds(p) || two.holds(p) })
		winner, loser := one, two
		if two.holds(p) {
			winner, loser = two, one
		}
		l.eventually("the other knows", time.Second, func() bool { return loser.look(p).State == claim.Contested })
		if l.configured(loser.k, p.Address) {
			t.Fatalf("both have %s", p.Address)
		}
		winner.hold()
		l.eventually("the other has "+family, 3*time.Second, func() bool { return loser.holds(p) })
		winner.hold(portal4, portal6)
	}
}

func TestOfTwoProcessesOfAMachineOneHasAnAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	first := l.start(1)
	first.take(portal4, portal6)
	second := l.start(1) // does not sweep up what the first holds
	second.hold(portal4, portal6)
	l.eventually("the second is refused", time.Second, func() bool {
		return strings.Contains(second.look(portal4).Problem, ErrLocked.Error()) &&
			strings.Contains(second.look(portal6).Problem, ErrLocked.Error())
	})
	if !first.holds(portal4, portal6) || !l.configured(1, portal4.Address) {
		t.Fatal("the first lost its addresses")
	}
	first.kill()
	l.eventually("the second has them", 2*time.Second, func() bool { return second.holds(portal4, portal6) })
}

func TestWhatAKilledProcessLeftBehindIsRemoved(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.ip("-n", l.space(1), "address", "add", "10.1.0.77/32", "dev", "eth0")
	one := l.start(1)
	one.take(portal4, portal6)
	one.kill()
	if !l.configured(1, portal4.Address) || !l.configured(1, portal6.Address) {
		t.Fatal("nothing was left behind")
	}
	l.start(1)
	if l.configured(1, portal4.Address) || l.configured(1, portal6.Address) {
		t.Fatal("what was left behind is still there")
	}
	if !l.configured(1, stranger77) {
		t.Fatal("somebody else's address was removed")
	}
}

var stranger77 = netip.MustParseAddr("10.1.0.77")

func TestWhatAKilledProcessLeftBehindExpires(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	one := l.start(1)
	one.take(portal4, portal6)
	one.kill()
	took := l.eventually("the kernel has forgotten them", 3500*time.Millisecond, func() bool {
		return !l.configured(1, portal4.Address) && !l.configured(1, portal6.Address)
	})
	t.Logf("forgotten after %v", took)
}

func TestALapseThatNobodyUsedEndsNoConnection(t *testing.T) {
	t.Parallel()
	for family, p := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			one := l.start(1)
			one.take(p)
			conn := l.connect(p, one)
			one.lease(false)
			l.eventually("the address is gone", 2*time.Second, func() bool { return !l.configured(1, p.Address) })
			fmt.Fprintln(conn, "are you there?")
			one.lease(true)
			l.eventually("the address is back", 2*time.Second, func() bool { return l.configured(1, p.Address) })
			if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "are you there?\n" {
				t.Fatalf("%q, %v", line, err)
			}
		})
	}
}

func TestAnAddressIsGivenUpByResetAndThenRemoval(t *testing.T) {
	t.Parallel()
	for family, p := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			one, two := l.start(1), l.start(2)
			one.take(p)
			conn := l.connect(p, one)
			end := session(conn)
			start := time.Now()
			one.hold()
			if err := <-end; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Fatalf("the connection ended with: %v", err)
			}
			l.eventually("the address is gone", time.Second, func() bool {
				return one.look(p).Address != p.Address && !l.configured(1, p.Address)
			})
			two.take(p)
			l.eventually("the next holder answers", time.Second, func() bool {
				_, name := l.call(p, 100*time.Millisecond)
				return name == "2"
			})
			t.Logf("moved in %v", time.Since(start))
			two.order("quit")
			<-two.ended
			if l.configured(2, p.Address) {
				t.Fatal("a stopped daemon left its address behind")
			}
		})
	}
}

func TestSomebodyElsesAddressIsLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	l.ip("-n", l.space(1), "address", "add", portal4.Address.String()+"/24", "dev", "eth0")
	l.ip("-n", l.space(1), "address", "add", portal6.Address.String()+"/64", "dev", "eth0", "nodad")
	one, two := l.start(1), l.start(2)
	one.hold(portal4, portal6)
	two.hold(portal4, portal6)
	for _, p := range families {
		l.eventually("it is refused where it is", time.Second, func() bool {
			return strings.Contains(one.look(p).Problem, ErrForeign.Error())
		})
		l.eventually("it is refused elsewhere", time.Second, func() bool {
			return strings.Contains(two.look(p).Problem, ErrContested.Error())
		})
	}
	one.order("quit")
	<-one.ended
	if !l.configured(1, portal4.Address) || !l.configured(1, portal6.Address) {
		t.Fatal("somebody else's address was removed")
	}
}

func TestAnAddressThatSomebodyConfiguresIsLeftToThem(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	one := l.start(1)
	one.take(portal4)
	l.ip("-n", l.space(1), "address", "add", portal4.Address.String()+"/24", "dev", "eth0")
	l.eventually("the daemon lets go", time.Second, func() bool {
		return strings.Contains(one.look(portal4).Problem, ErrForeign.Error())
	})
	if shown := l.ip("-n", l.space(1), "address", "show"); strings.Contains(shown, "10.1.0.101/32") || !strings.Contains(shown, "10.1.0.101/24") {
		t.Fatal(shown)
	}
}

// The process stands still between its look at the lease and the kernel's doing.
func TestAnAddressThatIsInstalledTooLateIsTakenOff(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	if err := l.in(1, func() error {
		all, err := addresses()
		if err != nil {
			return err
		}
		eth0, err := carrier(fabric4, all)
		if err != nil {
			return err
		}
		looks := 0
		lease := func() int64 {
			if looks++; looks == 1 {
				return boottime.Now() + leaseLength
			}
			return 1 // long ago
		}
		h := &holding{Keeper: &Keeper{c: Config{Lease: lease}}, Portal: portal4, link: eth0}
		if err := h.install(false); !errors.Is(err, errLapsed) {
			return fmt.Errorf("installed too late: %v", err)
		}
		h.failed(claim.Install, errLapsed)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if l.configured(1, portal4.Address) {
		t.Fatal("an address was left without a lease")
	}
}

func TestAnAddressThatSomebodyRemovedIsTakenAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	one := l.start(1)
	one.take(portal4)
	l.ip("-n", l.space(1), "address", "delete", portal4.Address.String()+"/32", "dev", "eth0")
	l.eventually("it is back", 2*time.Second, func() bool { return l.configured(1, portal4.Address) })
}

func TestAHolderDefendsItsAddress(t *testing.T) {
	t.Parallel()
	for family, p := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			one := l.start(1)
			one.take(p)
			l.connect(p, one)
			stranger := frame.MAC{2, 0xba, 0xd, 0, 0, 1}
			l.say(frame.Announce(stranger, p.Address)...)
			l.eventually("the holder has noticed", time.Second, func() bool { return one.look(p).Conflicts > 0 })
			l.eventually("the host knows who holds it", time.Second, func() bool { return l.neighbour(p.Address) == l.mac(1) })
		})
	}
}

// say sends frames from the host's interface.
func (l *lab) say(frames ...[]byte) {
	l.Helper()
	if err := l.in(host, func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		l.Fatal(err)
	}
}

func TestACableThatReturnsIsToldOfTheAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	one := l.start(1)
	one.take(portal4, portal6)
	l.expectFabrics(1, "[10.1.0.0/24 fd00:1::/64]")
	l.unplug(1)
	l.expectFabrics(1, "[]")
	heard := make(chan frame.Message, 100)
	for _, p := range families {
		var e *ear
		if err := l.in(host, func() error {
			links, err := ethernets()
			if err != nil {
				return err
			}
			for _, eth0 := range links {
				if e, err = listen(eth0, p.Address, func(m frame.Message) { heard <- m }); err != nil {
					return err
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer e.close()
	}
	l.eventually("the daemon sees it", time.Second, func() bool {
		return strings.Contains(one.look(portal4).Problem, ErrDown.Error()) && strings.Contains(one.look(portal6).Problem, ErrDown.Error())
	})
	l.replug(1)
	l.expectFabrics(1, "[10.1.0.0/24 fd00:1::/64]")
	// More often than what is left of the announcements of its taking.
	missing := map[netip.Addr]int{portal4.Address: 8, portal6.Address: 4}
	for deadline := time.After(2 * time.Second); missing[portal4.Address] > 0 || missing[portal6.Address] > 0; {
		select {
		case m := <-heard:
			if m.Uses {
				missing[m.Address]--
			}
		case <-deadline:
			t.Fatalf("not announced: %v", missing)
		}
	}
	if !one.holds(portal4, portal6) {
		t.Fatal("an address was lost")
	}
}

func (l *lab) expectFabrics(k int, want string) {
	l.Helper()
	var got string
	l.eventually("fabrics are "+want, 2*time.Second, func() bool {
		if err := l.in(k, func() error {
			f, err := Fabrics()
			got = fmt.Sprint(f)
			return err
		}); err != nil {
			l.Fatal(err)
		}
		return got == want
	})
}

func TestWithoutItsCapabilitiesAKeeperSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	for _, capability := range []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW} {
		m := l.start(1, fmt.Sprintf("%s=%d", weakVariable, capability))
		<-m.ended
		if !strings.Contains(m.errors, "CAP_NET_ADMIN and CAP_NET_RAW") {
			t.Errorf("without capability %d: %q", capability, m.errors)
		}
	}
}

func TestWhereNoInterfaceIsOnTheFabricItSaysSo(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	one := l.start(1)
	for _, far := range []Portal{
		{netip.MustParseAddr("10.9.0.101"), netip.MustParsePrefix("10.9.0.0/24")},
		{portal4.Address, fabric6},
	} {
		one.hold(far)
		l.eventually("it says so", time.Second, func() bool { return strings.Contains(one.look(far).Problem, ErrNoInterface.Error()) })
	}
}
