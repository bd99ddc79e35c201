package volume

import (
	"encoding/hex"
	"fmt"
	"slices"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
	"ashlar/target"
)

// apply follows what the cluster has agreed on.
func (v *Volume) apply(now int64, st *cluster.State) {
	agreed := st.Volumes[v.id]
	if agreed == nil || v.state != nil && st.Index < v.state.Index {
		return
	}
	if v.agreed != nil && agreed.Losses > v.agreed.Losses {
		v.losses = append(v.losses, loss{before: v.agreed.Losses, sessions: v.node.Sessions()})
		v.log.Warn("write cache lost", "volume", agreed.Name)
	}
	v.state, v.agreed = st, agreed
	v.publish(st)
	mine := agreed.Head == v.self && agreed.HeadIncarnation == v.incarnation
	if v.head != nil && (!mine || v.head.Epoch() != agreed.Epoch) {
		v.head.Stop(now)
		v.carryOutHead()
		v.head = nil
		v.log.Info("head no more", "volume", agreed.Name, "epoch", agreed.Epoch, "head", agreed.Head)
	}
	if mine && v.head == nil {
		v.log.Info("head", "volume", agreed.Name, "epoch", agreed.Epoch)
		v.head = mirror.NewHead(v.id, agreed.Epoch, v.self, agreed.Bytes, st.SegmentBytes, mirror.Bugs{})
		v.head.Lease(now, v.node.Lease())
		v.head.Configure(now, v.view())
		v.head.Connected(now, v.self)
		for _, n := range st.NodeIDs() {
			if n != v.self && v.links[n] {
				v.head.Connected(now, n)
			}
		}
	} else if v.head != nil {
		v.head.Configure(now, v.view())
	}
	v.follow()
}

// loss is of what was acknowledged from memory.
type loss struct {
	before   uint64 // how many there were before
	sessions uint32 // number of the newest host session of then
}

// knownLosses is how many losses there had been when a session began.
func (v *Volume) knownLosses(n wire.Nexus) uint64 {
	for _, l := range v.losses {
		if uint32(n.Generation) <= l.sessions {
			return l.before
		}
	}
	return v.agreed.Losses
}

// view is the volume as the head machine wants it.
func (v *Volume) view() mirror.View {
	w := mirror.View{Bytes: v.agreed.Bytes, MinInSync: v.agreed.MinInSync, WriteCache: v.agreed.WriteCache, Losses: v.agreed.Losses,
		Segments: make([]mirror.SegmentView, len(v.agreed.Segments))}
	if r := v.agreed.Reservations; r != nil {
		w.Reservations = rules{r}
	}
	for _, n := range v.state.NodeIDs() {
		k := v.state.Nodes[n]
		w.Nodes = append(w.Nodes, mirror.NodeView{Portal: wire.Portal{Node: n, Incarnation: k.Incarnation}, Up: k.Up})
	}
	w.Former = v.state.FormerHeads(v.agreed)
	for i, g := range v.agreed.Segments {
		s := &w.Segments[i]
		s.Gen = g.Gen
		for _, r := range g.Replicas {
			s.Members = append(s.Members, mirror.Member{Node: r.Node, Incarnation: v.state.Nodes[r.Node].Incarnation, Made: r.Made,
				InSync: r.InSync, Forgot: r.Forgot, Stored: r.Stored, Usable: v.state.Usable(r) && !r.Demoted})
		}
	}
	return w
}

// follow tells the portal where the head is.
func (v *Volume) follow() {
	if v.agreed == nil {
		return
	}
	h, token := v.agreed.Head, v.token()
	connected := h == v.self && v.head != nil || h != v.self && h != 0 && v.links[h]
	v.portal.Head(v.now, h, v.agreed.Epoch, connected)
	if h != 0 {
		v.portal.Token(v.now, h, token)
	}
}

// publish sets what front ends look at, and tells them of changes.
func (v *Volume) publish(st *cluster.State) {
	agreed := st.Volumes[v.id]
	var e []target.Event
	if old := v.info.Load(); old == nil || old.Blocks != agreed.Bytes/logicalBlock {
		v.info.Store(info(st, agreed))
		if old != nil {
			e = append(e, target.Resized)
		}
	}
	p := &place{head: agreed.Head, epoch: agreed.Epoch}
	for _, n := range st.NodeIDs() {
		state := target.NonOptimized
		if n == agreed.Head {
			state = target.Optimized
		}
		p.groups = append(p.groups, target.PortGroup{ID: uint16(n), State: state})
	}
	for _, a := range st.Addresses {
		state := target.NonOptimized
		if a.Holder != 0 && a.Holder == agreed.Head {
			state = target.Optimized
		}
		p.groups = append(p.groups, target.PortGroup{ID: a.Group, State: state})
	}
	slices.SortFunc(p.groups, func(a, b target.PortGroup) int { return int(a.ID) - int(b.ID) })
	v.adopt(agreed.Reservations)
	old := v.place.Swap(p)
	if old != nil && !slices.Equal(old.groups, p.groups) {
		e = append(e, target.PathsChanged)
	}
	for _, x := range e {
		v.tell(x)
	}
}

// tell passes an event to all listeners.
func (v *Volume) tell(e target.Event) {
	v.mu.Lock()
	var list []func(target.Event)
	for _, l := range v.listeners {
		list = append(list, l)
	}
	v.mu.Unlock()
	for _, l := range list {
		l(e)
	}
}

// logicalBlock is what hosts are offered: 512-byte blocks over 4 KiB ones (512e).
const logicalBlock = 512

// company is in the place of an IEEE company id: a locally administered one, for
// good, since hosts remember volumes by it.
const company = 0x02A51A

// info names the volume for ever: by its cluster's random identity and its number.
func info(st *cluster.State, v *cluster.Volume) *target.Info {
	i := &target.Info{ID: uint64(v.ID), Name: v.Name, WriteCache: v.WriteCache, BlockSize: logicalBlock, Physical: wire.BlockSize, Blocks: v.Bytes / logicalBlock,
		Atomic: disk.AtomicBytes} // on each copy; segments begin at multiples of it
	// NAA 6: 4 bits of type, 24 of company, 36 vendor specific, 64 more (SPC-4 7.8.6.6.5).
	id, err := hex.DecodeString(st.ID)
	if err != nil || len(id) < 8 {
		panic("volume: the cluster's identity is not hexadecimal: " + st.ID)
	}
	high := uint64(6)<<60 | uint64(company)<<36 | (uint64(id[0])<<28|uint64(id[1])<<20|uint64(id[2])<<12|uint64(id[3])<<4)&(1<<36-1)
	low := uint64(id[4])<<56 | uint64(id[5])<<48 | uint64(id[6])<<40 | uint64(v.ID)&(1<<40-1)
	for k := range 8 {
		i.NAA[k] = byte(high >> (56 - 8*k))
		i.NAA[8+k] = byte(low >> (56 - 8*k))
	}
	i.Serial = fmt.Sprintf("%s%08x", st.ID[:12], uint64(v.ID))
	return i
}
