package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
	"ashlar/target/nvme"
	"ashlar/target/nvme/auth"
)

// subsystems tells the NVMe/TCP front end who may use what, as directory does for
// iSCSI: one subsystem per volume, for the hosts that it is published to, and the
// cluster's own, with a host's numbered volumes. An export is for both protocols,
// as far as its host has a name there.
type subsystems struct {
	service  *service
	sequence atomic.Uint32 // of challenges

	mu     sync.Mutex
	own    map[targetKey]*nvme.Subsystem
	hosts  map[string]*numberedNVMe // by host NQN
	ending []chan struct{}          // of namespaces that were unmapped
	told   uint64                   // of what there is to discover, when hosts were last told
}

// numberedNVMe is the cluster's subsystem as one host sees it.
type numberedNVMe struct {
	subsystem *nvme.Subsystem
	spaces    map[uint32]targetKey
}

func newSubsystems(s *service) *subsystems {
	d := &subsystems{service: s, own: map[targetKey]*nvme.Subsystem{}, hosts: map[string]*numberedNVMe{}}
	var first [4]byte
	rand.Read(first[:])
	d.sequence.Store(binary.LittleEndian.Uint32(first[:]))
	return d
}

func (d *subsystems) Ready() bool { return d.service.ready() }

// exportToNQN is how a volume is published to a host, nil if it is not.
func exportToNQN(s *cluster.State, v *cluster.Volume, nqn string) *cluster.Export {
	h := s.HostWithNQN(nqn)
	for i := range v.Exports {
		if h != nil && v.Exports[i].Host == h.Name {
			return &v.Exports[i]
		}
	}
	return nil
}

// exportedNVMe is the volume of a subsystem of its own, as it is published to a host; nils
// where there is none.
func exportedNVMe(s *cluster.State, host, nqn string) (*cluster.Volume, *cluster.Export) {
	for _, v := range s.Volumes {
		if s.NQN(v) != nqn {
			continue
		}
		if e := exportToNQN(s, v, host); e != nil && !e.Numbered {
			return v, e
		}
	}
	return nil, nil
}

// numberedToNQN are the namespaces that a host is to see in the cluster's subsystem.
func numberedToNQN(s *cluster.State, host string) map[uint32]targetKey {
	spaces := map[uint32]targetKey{}
	for id, v := range s.Volumes {
		if e := exportToNQN(s, v, host); e != nil && e.Numbered && v.NSID != 0 {
			spaces[v.NSID] = targetKey{id, e.ReadOnly}
		}
	}
	return spaces
}

func (d *subsystems) Visible(host nvme.Host, nqn string) bool {
	s := d.service.consensus.State()
	if nqn == s.ClusterNQN() {
		return len(numberedToNQN(s, host.NQN)) > 0
	}
	v, _ := exportedNVMe(s, host.NQN, nqn)
	return v != nil
}

func (d *subsystems) Subsystem(host nvme.Host, nqn string) *nvme.Subsystem {
	s := d.service.consensus.State()
	if nqn == s.ClusterNQN() {
		return d.numbered(host.NQN)
	}
	v, export := exportedNVMe(s, host.NQN, nqn)
	if v == nil {
		return nil
	}
	key := targetKey{v.ID, export.ReadOnly}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.own[key]; t != nil {
		return t
	}
	device := d.service.directory.device(key)
	if device == nil {
		return nil
	}
	t := nvme.NewSubsystem(nvme.SubsystemConfig{NQN: nqn, Serial: device.Info().Serial, MaxNamespaces: cluster.NSIDMax})
	if err := t.Add(v.OwnNSID(), device); err != nil {
		d.service.log.Error("a volume has no namespace", "volume", v.Name, "error", err)
		return nil
	}
	d.own[key] = t
	return t
}

// numbered is a host's, nil where nothing is published to it with a number.
func (d *subsystems) numbered(host string) *nvme.Subsystem {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.service.consensus.State() // under mu: what is arranged never goes back
	wanted := numberedToNQN(s, host)
	if len(wanted) == 0 || d.service.engine.Load() == nil {
		return nil
	}
	n := d.hosts[host]
	if n == nil {
		n = &numberedNVMe{nvme.NewSubsystem(nvme.SubsystemConfig{NQN: s.ClusterNQN(), Serial: s.ID, MaxNamespaces: cluster.NSIDMax, MayCache: true}), map[uint32]targetKey{}}
		d.hosts[host] = n
	}
	d.arrange(n, wanted)
	return n.subsystem
}

// follow maps and unmaps the namespaces of hosts that are connected, as the cluster
// has agreed, and tells hosts of what they may discover. It is false where a volume is not open
// here yet. What is unmapped takes no effect any more when it returns, unless ctx ends first.
func (d *subsystems) follow(ctx context.Context) bool {
	d.mu.Lock()
	s := d.service.consensus.State()
	complete := true
	for host, n := range d.hosts {
		complete = d.arrange(n, numberedToNQN(s, host)) && complete
	}
	d.forget(s)
	ending := d.ending
	d.ending = nil
	told := d.told
	d.told = generation(s)
	changed := d.told != told
	d.mu.Unlock()
	if changed {
		d.service.nvme.DiscoveryChanged()
	}
	for _, ended := range ending {
		select {
		case <-ended:
		case <-ctx.Done():
			return complete
		}
	}
	return complete
}

// arrange makes a host's namespaces those that are wanted. mu is held.
func (d *subsystems) arrange(n *numberedNVMe, wanted map[uint32]targetKey) bool {
	complete := true
	for _, nsid := range slices.Sorted(maps.Keys(n.spaces)) {
		if wanted[nsid] != n.spaces[nsid] {
			d.remove(n.subsystem, nsid)
			delete(n.spaces, nsid)
		}
	}
	for _, nsid := range slices.Sorted(maps.Keys(wanted)) {
		if _, mapped := n.spaces[nsid]; mapped {
			continue
		}
		device := d.service.directory.device(wanted[nsid])
		if device == nil {
			complete = false
		} else if err := n.subsystem.Add(nsid, device); err != nil {
			d.service.log.Error("a volume has no namespace", "volume", wanted[nsid].volume, "nsid", nsid, "error", err)
		} else {
			n.spaces[nsid] = wanted[nsid]
		}
	}
	return complete
}

// remove unmaps a namespace. mu is held.
func (d *subsystems) remove(t *nvme.Subsystem, nsid uint32) {
	ended := make(chan struct{})
	t.Remove(nsid, func(err error) {
		if err != nil {
			d.service.log.Warn("what came in for a namespace may not have ended", "subsystem", t.NQN, "nsid", nsid, "error", err)
		}
		close(ended)
	})
	d.ending = append(d.ending, ended)
}

// forget drops the subsystems of volumes that are gone. mu is held.
func (d *subsystems) forget(s *cluster.State) {
	for key, t := range d.own {
		if s.Volumes[key.volume] == nil {
			d.remove(t, (&cluster.Volume{ID: key.volume}).OwnNSID())
			delete(d.own, key)
		}
	}
}

// Numbers of controllers are shared out between nodes by their own numbers, which are
// never used twice; two nodes whose numbers are that far apart are not in one cluster.
const (
	controllersOfNode = 512
	controllerRanges  = 127
)

func controllerRange(n wire.NodeID) (first, last uint16) {
	first = 1 + uint16((n-1)%controllerRanges)*controllersOfNode
	return first, first + controllersOfNode - 1
}

func (d *subsystems) ControllerIDs() (first, last uint16) {
	return controllerRange(d.service.record.Node)
}

func (d *subsystems) PortGroup(net.Addr) uint16 { return uint16(d.service.record.Node) }

// Authenticator has a host with a secret prove it, but not to discover: libnvme before
// 1.5 (Debian 12 has 1.3) keeps the secret from discovery controllers, and such a host could
// not use `nvme connect-all` at all. What discovery tells is names and addresses.
func (d *subsystems) Authenticator(r nvme.AuthRequest) nvme.Authenticator {
	h := d.service.consensus.State().HostWithNQN(r.HostNQN)
	if h == nil || h.DHCHAP == nil || r.SubsystemNQN == nvme.DiscoveryNQN {
		return nil
	}
	config := auth.Config{HostNQN: r.HostNQN, SubsystemNQN: r.SubsystemNQN}
	var err error
	if config.Host, config.Controller, err = h.DHCHAP.Secrets(); err != nil {
		d.service.log.Error("a host's secrets cannot be read: it is not let in", "host", h.Name, "error", err)
	}
	return nvme.DHCHAP{Controller: auth.NewController(config, rand.Reader, d.challenge)}
}

// challenge numbers challenges; 0 is none.
func (d *subsystems) challenge() uint32 {
	if n := d.sequence.Add(1); n != 0 {
		return n
	}
	return d.sequence.Add(1)
}

// Discovery is of the portals of all nodes that ever started, up or not, as for iSCSI. So
// there is nothing to refer to other nodes for: hosts would follow referrals there and back.
func (d *subsystems) Discovery(host nvme.Host) nvme.Discovery {
	s := d.service.consensus.State()
	out := nvme.Discovery{Generation: generation(s)}
	portals := portalsNVMe(s)
	if len(numberedToNQN(s, host.NQN)) > 0 {
		out.Listings = append(out.Listings, nvme.Listing{NQN: s.ClusterNQN(), Portals: portals})
	}
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		if e := exportToNQN(s, v, host.NQN); e != nil && !e.Numbered {
			out.Listings = append(out.Listings, nvme.Listing{NQN: s.NQN(v), Portals: portals})
		}
	}
	return out
}

// portalsNVMe are one for each node and subnet. Where the node is the home of an
// address that moves, this stands for the node's own: a host has the same path, and
// its connection is reset as soon as the node is fenced, even if the node is silent.
func portalsNVMe(s *cluster.State) (all []nvme.Portal) {
	for _, id := range s.NodeIDs() {
		n := s.Nodes[id]
		if n.Incarnation == 0 || n.Expelled {
			continue
		}
		for _, text := range n.NVMe {
			if address, err := netip.ParseAddrPort(text); err == nil && !isStoodForByAnother(s, id, address.Addr()) {
				all = append(all, nvme.Portal{Address: address, ID: uint16(id)})
			}
		}
	}
	for _, a := range s.Addresses {
		if a.NVMe != 0 {
			all = append(all, nvme.Portal{Address: netip.AddrPortFrom(a.Address.Address, a.NVMe), ID: a.Group})
		}
	}
	return all
}

// isStoodForByAnother says whether a node's own address is on a subnet where an
// address that moves, and that somebody has served, is at home at this node.
func isStoodForByAnother(s *cluster.State, id wire.NodeID, own netip.Addr) bool {
	return slices.ContainsFunc(s.Addresses, func(a cluster.Address) bool {
		return a.NVMe != 0 && a.Home == id && a.Gen != 0 && !a.Removed && a.Fabric.Contains(own)
	})
}

// generation is the same through every node, and another one after any change of
// what hosts may discover.
func generation(s *cluster.State) uint64 {
	h := fnv.New64a()
	say := func(v ...any) { fmt.Fprintf(h, "%q\n", v) }
	for _, p := range portalsNVMe(s) {
		say(p)
	}
	for _, id := range s.VolumeIDs() {
		for _, e := range s.Volumes[id].Exports {
			if host := s.Hosts[e.Host]; host != nil && host.NQN != "" {
				say(s.NQN(s.Volumes[id]), host.NQN, e.Numbered)
			}
		}
	}
	return h.Sum64()
}

const askAgain = 50 * time.Millisecond

// aboutController is a node's question to another: has this controller of yours ended?
const aboutController = "nvme-controller"

// controllerOf is a controller of a subsystem.
type controllerOf struct {
	Subsystem string
	Instance  nvme.Instance
}

// answer ends controllers for hosts that ask so at other nodes.
func (d *subsystems) answer(_ wire.NodeID, body json.RawMessage) any {
	var c controllerOf
	if err := json.Unmarshal(body, &c); err != nil {
		d.service.log.Warn("a malformed question about a controller", "error", err)
		return false
	}
	ctx, cancel := context.WithTimeout(d.service.ctx, fenceMax)
	defer cancel()
	if err := d.service.nvme.ResetController(ctx, c.Subsystem, c.Instance); err != nil {
		d.service.log.Warn("a controller that a host wants to end", "error", err)
		return false
	}
	return true
}

var (
	errNoController = errors.New("no node of the cluster has controllers of this number")
	errNoProof      = errors.New("the node of this controller has not said that it has ended")
)

// ResetController has the node of a controller end it. What a node does that
// is not up any more takes no effect.
func (d *subsystems) ResetController(ctx context.Context, nqn string, c nvme.Instance) error {
	e := d.service.engine.Load()
	if e == nil {
		return errNoProof
	}
	for ctx.Err() == nil {
		id, ok := nodeOfController(d.service.consensus.State(), c.ID)
		switch {
		case !ok:
			return errNoController
		case !d.service.consensus.State().Nodes[id].Up:
			return nil
		}
		text, ok := e.Ask(ctx, id, aboutController, controllerOf{nqn, c})
		var ended bool
		if ok && json.Unmarshal(text, &ended) == nil && ended {
			return nil
		}
		pause(ctx, askAgain)
	}
	return errNoProof
}

func nodeOfController(s *cluster.State, controller uint16) (wire.NodeID, bool) {
	for _, id := range s.NodeIDs() {
		if first, last := controllerRange(id); first <= controller && controller <= last {
			return id, true
		}
	}
	return 0, false
}
