package address

import (
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"ashlar/node/address/claim"
	"ashlar/target/boottime"
)

// Holding is what has become of a Portal.
type Holding struct {
	Portal
	Interface string // where it is or will be; empty if there is none
	State     claim.State
	Since     time.Duration // of CLOCK_BOOTTIME, when State began
	Conflicts int           // how often a neighbour used it too, while it was held
	Problem   error         // why it is not held, or in vain; nil if all is well or soon will be
}

// Holdings are the addresses that were asked for, and those not yet given up,
// in ascending order.
func (k *Keeper) Holdings() []Holding {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Values(k.holdings), func(a, b Holding) int { return a.Address.Compare(b.Address) })
}

// Gone says whether an address is neither asked for nor still on an interface: a
// node that is to give it up may say that it has.
func (k *Keeper) Gone(address netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.holdings[address]
	return !ok
}

// Holds says whether the address is on an interface of this machine now, by us.
func (k *Keeper) Holds(address netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holdings[address].State == claim.Held
}

// publish shows what came of it, and tells if that has changed.
func (k *Keeper) publish() {
	now := time.Duration(boottime.Now())
	k.mu.Lock()
	changed := false
	next := map[netip.Addr]Holding{}
	for a, p := range k.wanted { // asked for since step began
		if k.held[a] == nil {
			next[a] = Holding{Portal: p}
		}
	}
	for a, h := range k.held {
		show := h.show()
		was, ok := k.holdings[a]
		if show.Since = was.Since; !ok || was.State != show.State || was.Since == 0 {
			show.Since = now
		}
		changed = changed || !ok || was.State != show.State || text(was.Problem) != text(show.Problem) ||
			was.Interface != show.Interface || was.Conflicts != show.Conflicts
		next[a] = show
		k.report(was, show)
	}
	for a := range k.holdings {
		if _, ok := next[a]; !ok {
			changed = true
			k.c.Log.Info("a portal address was given up", "address", a)
		}
	}
	k.holdings = next
	k.mu.Unlock()
	if changed && k.c.Changed != nil {
		k.c.Changed()
	}
}

// report logs what an operator would want to know.
func (k *Keeper) report(was, is Holding) {
	switch {
	case is.State == claim.Held && was.State != claim.Held:
		k.c.Log.Info("a portal address is held", "address", is.Address, "interface", is.Interface)
	case was.State == claim.Held && is.State != claim.Held:
		k.c.Log.Warn("a portal address is no longer held", "address", is.Address, "error", is.Problem)
	case is.Problem != nil && text(was.Problem) != text(is.Problem):
		k.c.Log.Warn("a portal address cannot be served", "address", is.Address, "error", is.Problem)
	}
	if bits.Len(uint(is.Conflicts)) > bits.Len(uint(was.Conflicts)) { // at each doubling
		k.c.Log.Warn("a neighbour uses a portal address that is held here", "address", is.Address, "times", is.Conflicts)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
