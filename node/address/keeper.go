// Package address holds portal addresses that move between nodes: it puts them on
// this machine's interfaces while its node may act for them, tells the
// neighbours, and takes them off. DESIGN.md says why it does it so.
package address

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ashlar/node/address/claim"
	"ashlar/node/address/frame"
	"ashlar/target/boottime"
)

// Config of a Keeper.
type Config struct {
	// Lease gives when the node's lease ends, ns of CLOCK_BOOTTIME; 0: it has
	// none. It is called often, also right before and after an address is given
	// another few seconds to live.
	Lease func() int64
	// Drop ends the connections that hosts have with an address, by reset, before
	// the address is given up. Nothing that they sent is acted upon once it has
	// returned. It may be nil.
	Drop func(netip.Addr)
	// Connections are those that hosts had with an address before it came here, as
	// far as is known: they are reset at once, also where the host is waiting. It is
	// called a few times in the first seconds. It may be nil, and name connections
	// that are over, or that are here by now.
	Connections func(netip.Addr) []Connection
	// Changed is called after a Holding came, went or changed. It must not block.
	// It may be nil.
	Changed func()
	Log     *slog.Logger // may be nil
}

// Portal is an address to hold, and the masked subnet whose interface carries it.
type Portal struct {
	Address netip.Addr
	Fabric  netip.Prefix
}

// Keeper puts portal addresses on this machine's interfaces while they are this
// node's to hold, and takes them off.
type Keeper struct {
	c    Config
	wake chan struct{} // something is to be looked at
	stop chan struct{}
	done chan struct{}

	mu       sync.Mutex
	wanted   map[netip.Addr]Portal
	holdings map[netip.Addr]Holding // as the goroutine last left them
	heard    []frame.Message        // not looked at yet

	// The goroutine's own.
	held map[netip.Addr]*holding
}

// heardMax bounds what neighbours have said and nobody has looked at yet.
const heardMax = 64

// Open finds out whether this process may move addresses (ErrPermission), takes
// off what a former one left behind, and starts.
func Open(c Config) (*Keeper, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := permitted(); err != nil {
		return nil, err
	}
	if err := clearLeftovers(c.Log); err != nil {
		return nil, err
	}
	k := &Keeper{c: c, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		wanted: map[netip.Addr]Portal{}, holdings: map[netip.Addr]Holding{}, held: map[netip.Addr]*holding{}}
	go k.run()
	return k, nil
}

// permitted tries what needs capabilities and changes nothing.
func permitted() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return explain("packet socket", err)
	}
	unix.Close(fd)
	// The kernel looks at the capability first, and at the interface later.
	if err := remove(1, netip.AddrFrom4([4]byte{192, 0, 2, 0})); errors.Is(err, ErrPermission) {
		return err
	}
	return nil
}

// clearLeftovers takes off the addresses that carry our mark and that no living
// process holds.
func clearLeftovers(log *slog.Logger) error {
	all, err := addresses()
	if err != nil {
		return err
	}
	for _, c := range all {
		if !c.ours {
			continue
		}
		unlock, err := lock(c.prefix.Addr())
		if errors.Is(err, ErrLocked) {
			continue
		}
		if err == nil {
			err = remove(c.index, c.prefix.Addr())
			unlock()
		}
		if err != nil {
			return err
		}
		log.Info("an address that a former process left behind was removed", "address", c.prefix.Addr())
	}
	return nil
}

// Hold says which addresses are this node's, from now on: all that its
// incarnation holds as far as it has heard. It returns at once. Others are given
// up: their connections are reset, then they are taken off the interface, then
// they are no longer among Holdings.
func (k *Keeper) Hold(portals []Portal) {
	wanted := map[netip.Addr]Portal{}
	for _, p := range portals {
		wanted[p.Address] = p
	}
	k.mu.Lock()
	k.wanted = wanted
	// What is asked for at once shows at once, so that nobody takes it for gone.
	for a, p := range wanted {
		if _, ok := k.holdings[a]; !ok {
			k.holdings[a] = Holding{Portal: p}
		}
	}
	k.mu.Unlock()
	k.poke()
}

// Close gives up all addresses.
func (k *Keeper) Close() {
	k.Hold(nil)
	close(k.stop)
	<-k.done
}

func (k *Keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run is the only goroutine that touches an interface.
func (k *Keeper) run() {
	defer close(k.done)
	timer := time.NewTimer(0)
	for {
		select {
		case <-k.wake:
		case <-timer.C:
		case <-k.stop:
			k.end()
			return
		}
		k.step()
		timer.Reset(k.pause())
	}
}

// step looks at everything once.
func (k *Keeper) step() {
	k.mu.Lock()
	wanted, heard := k.wanted, k.heard
	k.heard = nil
	k.mu.Unlock()
	for address, h := range k.held {
		if wanted[address] != h.Portal {
			k.giveUp(h)
		}
	}
	for address, p := range wanted {
		if k.held[address] == nil {
			k.held[address] = &holding{Keeper: k, Portal: p}
		}
	}
	for _, m := range heard {
		if h := k.held[m.Address]; h != nil {
			h.hear(m)
		}
	}
	for _, h := range k.held {
		h.step()
	}
	k.publish()
}

// longestPause bounds how late a lease that was renewed, or an interface that
// came, is seen.
const (
	longestPause  = 100 * time.Millisecond
	shortestPause = time.Millisecond
)

func (k *Keeper) pause() time.Duration {
	if len(k.held) == 0 {
		return time.Hour // until Hold wakes it
	}
	wait := longestPause
	now, lease := boottime.Now(), k.c.Lease()
	for _, h := range k.held {
		if h.claim != nil && h.claim.State() != claim.Waiting {
			wait = min(wait, time.Duration(h.claim.Next(lease)-now))
		}
	}
	return max(wait, shortestPause)
}

// giveUp ends the connections while the address is still there to send from.
func (k *Keeper) giveUp(h *holding) {
	if k.c.Drop != nil {
		k.c.Drop(h.Address)
	}
	if err := h.release(); err != nil {
		h.problem = err // tried again
		return
	}
	delete(k.held, h.Address)
}

// giveUpTries bounds how long Close tries; the address's lifetime is the next bound.
const giveUpTries = 5

func (k *Keeper) end() {
	for range giveUpTries {
		if k.step(); len(k.held) == 0 {
			return
		}
		time.Sleep(longestPause)
	}
}
