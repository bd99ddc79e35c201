package events

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// Between are the events that lead from one state to the next, which a command at its Index made of it at a time.
func Between(before, after *cluster.State, at time.Time) []Event {
	d := &derivation{before: before, after: after, at: at}
	d.cluster()
	d.nodes()
	d.disks()
	d.hosts()
	d.volumes()
	d.emptied()
	d.addresses()
	d.jobs()
	return d.out
}

// Gap stands for what happened up to a state that was taken over as a whole, and is not known: a node was away for long, is new,
// or formed the cluster anew of what it had. It comes before the events of that index. What happened up to the index through is known.
func Gap(through uint64, after *cluster.State, at time.Time) Event {
	e := Event{ID: ID{Index: after.Index}, At: at, Kind: Unknown}
	if n := len(after.Forebears); n > 0 && after.Forebears[n-1].Index >= through {
		e.Kind, e.Warning, e.Text = ClusterReformed, true, fmt.Sprintf("the cluster %q was formed anew, without the nodes that are expelled", after.Name)
		return e
	}
	e.Text = fmt.Sprintf("what happened from index %d to %d is not known at this node: it was told only what came of it", through+1, after.Index)
	return e
}

type derivation struct {
	before, after *cluster.State
	at            time.Time
	out           []Event
	left          map[cluster.DiskID]bool // disks that copies went from for good
}

// add tells of an event whose sentence is made like Sprintf's; what is set in e is kept.
func (d *derivation) add(e Event, format string, args ...any) {
	e.ID, e.At, e.Text = ID{d.after.Index, uint32(len(d.out) + 1)}, d.at, fmt.Sprintf(format, args...)
	if e.Tenant == "" {
		e.Tenant = d.tenant(e)
	}
	d.out = append(d.out, e)
}

// tenant is whose the volume is that an event is about, or else the host.
func (d *derivation) tenant(e Event) string {
	for _, s := range []*cluster.State{d.after, d.before} {
		if v := s.VolumeNamed(e.Volume); v != nil {
			return v.Tenant
		}
		if h := s.Hosts[e.Host]; h != nil && e.Volume == "" {
			return h.Tenant
		}
	}
	return ""
}

func (d *derivation) node(id wire.NodeID) string {
	for _, s := range []*cluster.State{d.after, d.before} {
		if n := s.Nodes[id]; n != nil {
			return n.Name
		}
	}
	return fmt.Sprint(id)
}

// both are the keys of two maps, in ascending order.
func both[K interface{ ~uint16 | ~uint64 | ~string }, V any](a, b map[K]V) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (d *derivation) cluster() {
	old, now := d.before, d.after
	if old.ID == "" && now.ID != "" {
		d.add(Event{Kind: ClusterCreated}, "the cluster %q was created", now.Name)
	}
	if old.Settings != now.Settings && now.Settings != nil {
		if a, b := settings(old.Effective()), settings(now.Effective()); a != b {
			d.add(Event{Kind: SettingsChanged}, "settings of the cluster were changed: %s", b)
		}
	}
	switch {
	case old.Fill == now.Fill:
	case now.Fill == cluster.Roomy:
		d.add(Event{Kind: PoolRoomy}, "the pool has room again: %d %% of it is used", now.FilledTo)
	case now.Fill == cluster.FillCritical:
		d.add(Event{Kind: PoolFilling, Warning: true}, "%d %% of the pool is used: writes fail when a disk has no room", now.FilledTo)
	default:
		d.add(Event{Kind: PoolFilling, Warning: true}, "%d %% of the pool is used, which is to be warned of", now.FilledTo)
	}
}

func settings(s cluster.Settings) string { return strings.Trim(fmt.Sprintf("%+v", s), "{}") }

func (d *derivation) nodes() {
	for _, id := range both(d.before.Nodes, d.after.Nodes) {
		if old, now := d.before.Nodes[id], d.after.Nodes[id]; old != now && now != nil {
			d.oneNode(old, now)
		}
	}
}

func (d *derivation) oneNode(old, now *cluster.Node) {
	if old == nil {
		d.add(Event{Kind: NodeJoined, Node: now.Name}, "node %q joined the cluster", now.Name)
		old = &cluster.Node{Domain: now.Domain, Peer: now.Peer, Portals: now.Portals, NVMe: now.NVMe}
	}
	switch {
	case now.Removed && !old.Removed:
		d.add(Event{Kind: NodeRemoved, Node: now.Name}, "node %q was removed from the cluster", now.Name)
		return
	case now.Up && (!old.Up || now.Incarnation != old.Incarnation):
		again := ""
		if old.Up {
			again = ", before anybody noticed that it was down"
		}
		d.add(Event{Kind: NodeUp, Node: now.Name}, "node %q is up, as incarnation %d%s", now.Name, now.Incarnation, again)
	case old.Up && !now.Up && old.Leaving:
		d.add(Event{Kind: NodeStopped, Node: now.Name}, "node %q has stopped, as it was told to", now.Name)
	case old.Up && !now.Up:
		d.add(Event{Kind: NodeDown, Node: now.Name, Warning: true}, "node %q is down: incarnation %d was fenced", now.Name, now.Incarnation)
	}
	switch {
	case now.Drained && (!old.Drained || now.Emptied != old.Emptied):
		what := "hosts and heads go elsewhere"
		if now.Emptied {
			what += ", and so do its copies"
		}
		d.add(Event{Kind: NodeDrained, Node: now.Name}, "node %q is drained: %s", now.Name, what)
	case old.Drained && !now.Drained:
		d.add(Event{Kind: NodeUndrained, Node: now.Name}, "node %q serves hosts again", now.Name)
	}
	switch {
	case now.Voter && !old.Voter:
		d.add(Event{Kind: NodeVoter, Node: now.Name}, "node %q votes", now.Name)
	case old.Voter && !now.Voter:
		d.add(Event{Kind: NodeNoVoter, Node: now.Name}, "node %q votes no more", now.Name)
	}
	if now.Domain != old.Domain {
		where := "is a fault domain of its own"
		if now.Domain != "" {
			where = fmt.Sprintf("is in fault domain %q", now.Domain)
		}
		d.add(Event{Kind: NodeChanged, Node: now.Name}, "node %q %s", now.Name, where)
	}
	if now.Peer != old.Peer || !slices.Equal(now.Portals, old.Portals) && old.Incarnation != 0 {
		d.add(Event{Kind: NodeChanged, Node: now.Name}, "node %q has other addresses: %s for nodes, %s for hosts", now.Name, now.Peer, strings.Join(now.Portals, ", "))
	}
}

func (d *derivation) disks() {
	for _, id := range both(d.before.Disks, d.after.Disks) {
		if old, now := d.before.Disks[id], d.after.Disks[id]; old != now {
			d.oneDisk(old, now)
		}
	}
}

func (d *derivation) oneDisk(old, now *cluster.Disk) {
	if now == nil {
		node := d.node(old.Node)
		d.add(Event{Kind: DiskRemoved, Node: node, Disk: string(old.ID)}, "disk %s of node %q was taken out of the pool", old.Path, node)
		return
	}
	node := d.node(now.Node)
	about := Event{Node: node, Disk: string(now.ID)}
	tell := func(kind Kind, warning bool, format string, args ...any) {
		about.Kind, about.Warning = kind, warning
		d.add(about, "disk %s of node %q "+format, append([]any{now.Path, node}, args...)...)
	}
	if old == nil {
		tell(DiskAdded, false, "is in the pool, with %d bytes", now.Size)
		old = &cluster.Disk{}
	}
	if now.BadEver > old.BadEver {
		tell(DiskBadBlocks, true, "could not give %d blocks, %d so far", now.BadEver-old.BadEver, now.BadEver)
	}
	if now.Worn && !old.Worn {
		tell(DiskWorn, true, "lost %d blocks within a day: it is to leave the pool", cluster.BadMost)
	}
	switch {
	case now.Ejected && !old.Ejected:
		tell(DiskEjected, true, "was ejected: its copies are made anew elsewhere")
	case now.Failed && !old.Failed:
		tell(DiskFailed, true, "has failed, or its node is gone for good: it is never used again")
	}
	switch {
	case now.Drained && !old.Drained:
		tell(DiskDrained, false, "is drained: its copies go elsewhere")
	case old.Drained && !now.Drained:
		tell(DiskUndrained, false, "takes copies again")
	}
}

func (d *derivation) hosts() {
	for _, name := range both(d.before.Hosts, d.after.Hosts) {
		old, now := d.before.Hosts[name], d.after.Hosts[name]
		about := Event{Host: name}
		switch {
		case old == now:
		case old == nil:
			about.Kind = HostAdded
			d.add(about, "host %q is known", name)
		case now == nil:
			about.Kind = HostRemoved
			d.add(about, "host %q was forgotten", name)
		case old.CHAP != now.CHAP || old.DHCHAP != now.DHCHAP:
			about.Kind = HostChanged
			d.add(about, "what host %q has to prove was changed", name)
		case old.IQN != now.IQN || old.NQN != now.NQN:
			about.Kind = HostChanged
			d.add(about, "host %q has other names: %s", name, strings.TrimSpace(now.IQN+" "+now.NQN))
		}
	}
}

func (d *derivation) addresses() {
	for _, old := range d.before.Addresses {
		now := d.after.AddressAt(old.Address.Address)
		about := Event{Kind: AddressRemoved, Address: old.Address.Address.String()}
		switch {
		case now == nil && !old.Removed || now != nil && now.Removed && !old.Removed:
			d.add(about, "portal address %s is taken out of use", about.Address)
		case now != nil && now.Holder != old.Holder && now.Holder != 0:
			about.Kind, about.Node = AddressMoved, d.node(now.Holder)
			d.add(about, "portal address %s is held by node %q", about.Address, about.Node)
		case now != nil && now.Holder != old.Holder:
			about.Kind, about.Node = AddressMoved, d.node(old.Holder)
			d.add(about, "portal address %s is held by nobody: node %q gave it up", about.Address, about.Node)
		}
	}
	for _, now := range d.after.Addresses {
		if d.before.AddressAt(now.Address.Address) == nil {
			ip := now.Address.Address.String()
			d.add(Event{Kind: AddressAdded, Address: ip}, "portal address %s is there", ip)
		}
	}
}
