package claim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ashlar/node/address/frame"
)

const (
	ms      = int64(1_000_000)
	forever = int64(1) << 62
)

var (
	low, self, high = frame.MAC{2, 0, 0, 0, 0, 1}, frame.MAC{2, 0, 0, 0, 0, 5}, frame.MAC{2, 0, 0, 0, 0, 9}
	address         = netip.MustParseAddr("10.1.0.101")
)

func uses(m frame.MAC) frame.Message  { return frame.Message{Address: address, MAC: m, Uses: true} }
func wants(m frame.MAC) frame.Message { return frame.Message{Address: address, MAC: m} }

// until ticks every 10 ms from a time to another, and writes down what was done
// as "ms action".
func until(c *Claim, from, to, lease int64) (log []string) {
	for now := from; now < to; now += 10 * ms {
		for _, a := range c.Tick(now, lease) {
			log = append(log, fmt.Sprint(now/ms, " ", a))
		}
	}
	return log
}

func expect(t *testing.T, got []string, want string) {
	t.Helper()
	if g := strings.Join(got, ", "); g != want {
		t.Fatalf("\n got %s\nwant %s", g, want)
	}
}

func TestAnAddressIsTakenWhenNobodyObjects(t *testing.T) {
	c := New(self)
	expect(t, until(c, 0, 1000*ms, forever), "0 probe, 60 probe, 120 probe, 180 install, 180 announce, 240 announce, "+
		"440 announce, 480 renew, 780 renew, 840 announce")
}

func TestAnAddressInUseIsNotTakenUntilItFallsSilent(t *testing.T) {
	for _, message := range []frame.Message{uses(high), uses(low), wants(low)} {
		c := New(self)
		until(c, 0, 100*ms, forever)
		c.Hear(100*ms, message)
		if rival, _ := c.Rival(); c.State() != Contested || rival != message.MAC {
			t.Fatalf("%+v: %v with %v", message, c.State(), rival)
		}
		expect(t, until(c, 100*ms, 600*ms, forever), "300 probe, 360 probe, 420 probe, 480 install, 480 announce, 540 announce")
	}
}

func TestWhoeverIsHeardWhileItIsContestedIsTheRival(t *testing.T) {
	c := New(self)
	until(c, 0, 100*ms, forever)
	c.Hear(100*ms, wants(low))
	c.Hear(200*ms, uses(high)) // it has it, and the other only wants it
	if rival, _ := c.Rival(); rival != high {
		t.Fatal(rival)
	}
	expect(t, until(c, 200*ms, 500*ms, forever), "400 probe, 460 probe")
}

func TestOfTwoThatProbeTheLowerGoesOn(t *testing.T) {
	c := New(self)
	until(c, 0, 100*ms, forever)
	c.Hear(100*ms, wants(high))
	c.Hear(100*ms, wants(self))
	c.Hear(100*ms, uses(self))
	if c.State() != Probing {
		t.Fatal(c.State())
	}
}

func TestNothingIsDoneWithoutALease(t *testing.T) {
	c := New(self)
	expect(t, until(c, 0, 1000*ms, 0), "")
	expect(t, until(c, 1000*ms, 1100*ms, 1050*ms), "1000 probe")
	if c.State() != Waiting {
		t.Fatal(c.State())
	}
	until(c, 2000*ms, 3000*ms, forever)
	expect(t, until(c, 3000*ms, 3100*ms, 3050*ms), "3050 remove")
	expect(t, until(c, 4000*ms, 4200*ms, forever), "4000 probe, 4060 probe, 4120 probe, 4180 install, 4180 announce")
}

func TestAHolderDefendsItself(t *testing.T) {
	c := New(self)
	until(c, 0, 5000*ms, forever)
	if got := c.Hear(5000*ms, uses(high)); !slices.Equal(got, []Action{Announce}) {
		t.Fatal(got)
	}
	if got := c.Hear(5500*ms, uses(high)); got != nil {
		t.Fatalf("two that insist flood the link: %v", got)
	}
	if got := c.Hear(6000*ms, uses(high)); !slices.Equal(got, []Action{Announce}) {
		t.Fatal(got)
	}
	if got := c.Hear(7500*ms, wants(low)); got != nil {
		t.Fatalf("the kernel answers a probe: %v", got)
	}
	if rival, n := c.Rival(); rival != high || n != 3 || c.State() != Held {
		t.Fatal(rival, n, c.State())
	}
}

func TestAnAddressThatTheKernelLostIsProbedAnew(t *testing.T) {
	c := New(self)
	until(c, 0, 5000*ms, forever)
	c.Missing(5000 * ms)
	expect(t, until(c, 5000*ms, 5400*ms, forever), "5200 probe, 5260 probe, 5320 probe, 5380 install, 5380 announce")
}

func TestALinkThatReturnsIsToldAgain(t *testing.T) {
	c := New(self)
	until(c, 0, 9000*ms, forever)
	c.Returned(9000 * ms)
	expect(t, until(c, 9000*ms, 9300*ms, forever), "9000 announce, 9060 announce, 9180 renew, 9260 announce")
}

// Next never sleeps through something that Tick would have done.
func TestNextIsEarlyEnough(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		every, lazy := New(self), New(self)
		var wake int64
		var want, got []string
		lease := forever
		for now := ms; now < 4000*ms; now += ms {
			for _, a := range every.Tick(now, lease) {
				want = append(want, fmt.Sprint(now/ms, a))
			}
			if now >= wake {
				for _, a := range lazy.Tick(now, lease) {
					got = append(got, fmt.Sprint(now/ms, a))
				}
				wake = max(lazy.Next(lease), now+1)
			}
			switch random.IntN(400) {
			case 0:
				m := []frame.Message{uses(low), uses(high), wants(low), wants(high)}[random.IntN(4)]
				every.Hear(now, m)
				lazy.Hear(now, m)
				wake = 0
			case 1:
				every.Missing(now)
				lazy.Missing(now)
				wake = 0
			case 2:
				lease = now + random.Int64N(300)*ms
				wake = 0
			case 3:
				lease = forever
				wake = 0
			}
		}
		if !slices.Equal(want, got) {
			t.Fatalf("seed %d:\nwant %v\n got %v", seed, want, got)
		}
	}
}

// Claims of several machines on one link, where each hears each other, begun at
// any time: the address has one holder soon, and only one.
func TestOfManyThatWantItOneHoldsIt(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		var claims []*Claim
		for i := range 2 + random.IntN(4) {
			claims = append(claims, New(frame.MAC{2, 0, 0, byte(random.IntN(256)), 0, byte(i)}))
		}
		begin := make([]int64, len(claims))
		for i := range begin {
			begin[i] = random.Int64N(400) * ms
		}
		for now := ms; now < 3000*ms; now += ms {
			for i, c := range claims {
				if now < begin[i] {
					continue
				}
				for _, a := range c.Tick(now, forever) {
					for k, other := range claims {
						if k == i || a != Probe && a != Announce {
							continue
						}
						m := frame.Message{Address: address, MAC: c.self, Uses: a == Announce}
						other.Hear(now, m)
						if other.State() == Held && a == Probe { // its kernel answers
							c.Hear(now, uses(other.self))
						}
					}
				}
			}
		}
		held := 0
		for _, c := range claims {
			if c.State() == Held {
				held++
			}
		}
		if held != 1 {
			t.Fatalf("seed %d: %d of %d hold it", seed, held, len(claims))
		}
	}
}
