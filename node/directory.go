package node

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
	"ashlar/target"
	"ashlar/target/iscsi"
	"ashlar/target/scsi"
)

// directory tells the iSCSI front end who may use what: one target per volume,
// the volume at LUN 0, for the hosts that it is published to, and the cluster's
// own target, with a host's numbered volumes. It answers from the cluster's
// state as this node knows it.
type directory struct {
	service *service

	mu      sync.Mutex
	targets map[targetKey]*scsi.Target
	hosts   map[string]*numbered // by initiator name, lower case
	ending  []chan struct{}      // of units that were unmapped
}

// targetKey is one way to see a volume. A host that may only read sees a
// write-protected unit, beside others that may write.
type targetKey struct {
	volume   wire.VolumeID
	readOnly bool
}

const lun = 0 // of a volume in a target of its own

func (d *directory) Ready() bool { return d.service.ready() }

// exported is the volume of a target name and how it is published to an
// initiator as a target of its own; nils where there is none.
func exported(s *cluster.State, initiator, iqn string) (*cluster.Volume, *cluster.Export) {
	for _, v := range s.Volumes {
		if s.IQN(v) != iqn {
			continue
		}
		if e := exportTo(s, v, initiator); e != nil && !e.Numbered {
			return v, e
		}
	}
	return nil, nil
}

func exportTo(s *cluster.State, v *cluster.Volume, initiator string) *cluster.Export {
	h := s.HostWith(initiator)
	for i := range v.Exports {
		if h != nil && v.Exports[i].Host == h.Name {
			return &v.Exports[i]
		}
	}
	return nil
}

// Credentials are the host's, for discovery as for any session. It may give its
// initiator name or its name in the cluster, and knows us by the cluster's name.
func (d *directory) Credentials(initiator string, discovery bool) iscsi.Credentials {
	s := d.service.consensus.State()
	h := s.HostWith(initiator)
	if h == nil || h.CHAP == nil {
		return iscsi.Credentials{}
	}
	return iscsi.Credentials{
		Users: []string{initiator, h.IQN, h.Name}, Secret: h.CHAP.Secret, MutualUser: s.Name, MutualSecret: h.CHAP.Mutual,
	}
}

// Redirect sends hosts away from a node that is drained. Else nobody is: hosts
// have a path to each node, and use the best.
func (d *directory) Redirect(initiator, iqn string, local net.Addr) (netip.AddrPort, bool) {
	return d.service.drain.redirect(initiator, iqn, local)
}

func (d *directory) Visible(initiator, iqn string) bool {
	s := d.service.consensus.State()
	if iqn == s.ClusterIQN() {
		return len(numberedTo(s, initiator)) > 0
	}
	_, export := exported(s, initiator, iqn)
	return export != nil
}

func (d *directory) Target(initiator, iqn string) *scsi.Target {
	s := d.service.consensus.State()
	if iqn == s.ClusterIQN() {
		return d.numbered(initiator)
	}
	v, export := exported(s, initiator, iqn)
	if v == nil {
		return nil
	}
	key := targetKey{v.ID, export.ReadOnly}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.targets[key]; t != nil {
		return t
	}
	device := d.device(key)
	if device == nil {
		return nil
	}
	t := scsi.NewTarget(scsi.Config{Name: iqn, Find: d.find})
	if err := t.Add(lun, device); err != nil {
		d.service.log.Error("a volume has no logical unit", "volume", v.Name, "error", err)
		return nil
	}
	d.targets[key] = t
	return t
}

// device is a volume as some hosts see it, nil where it is not open here.
func (d *directory) device(key targetKey) target.Device {
	engine := d.service.engine.Load()
	if engine == nil {
		return nil
	}
	device := engine.Device(key.volume)
	if device != nil && key.readOnly {
		device = readOnly{device}
	}
	return device
}

// find is the target of the volume with an NAA designator, if it is published to
// the initiator: EXTENDED COPY may read and write it for that host.
func (d *directory) find(initiator string, naa [16]byte) *scsi.Target {
	s := d.service.consensus.State()
	engine := d.service.engine.Load()
	if engine == nil {
		return nil
	}
	for id, v := range s.Volumes {
		if device := engine.Device(id); device == nil || device.Info().NAA != naa {
			continue
		}
		switch e := exportTo(s, v, initiator); {
		case e == nil:
			return nil
		case e.Numbered:
			return d.numbered(initiator)
		}
		return d.Target(initiator, s.IQN(v))
	}
	return nil
}

// remove unmaps a logical unit; settle waits for its end. mu is held.
func (d *directory) remove(t *scsi.Target, lun uint16) {
	ended := make(chan struct{})
	t.Remove(lun, func(scsi.TMFResult) { close(ended) })
	d.ending = append(d.ending, ended)
}

// settle returns when nothing of what was unmapped takes effect any more, or when
// ctx has ended.
func (d *directory) settle(ctx context.Context) {
	d.mu.Lock()
	ending := d.ending
	d.ending = nil
	d.mu.Unlock()
	for _, ended := range ending {
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

// forget drops the targets of volumes that are gone.
func (d *directory) forget(s *cluster.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	present := map[wire.VolumeID]bool{}
	for id := range s.Volumes {
		present[id] = true
	}
	for key, t := range d.targets {
		if !present[key.volume] {
			d.remove(t, lun)
			delete(d.targets, key)
		}
	}
}

func (d *directory) Listings(initiator string) (all []iscsi.Listing) {
	s := d.service.consensus.State()
	portals := portalsOf(s)
	if len(numberedTo(s, initiator)) > 0 {
		all = append(all, iscsi.Listing{IQN: s.ClusterIQN(), Portals: portals})
	}
	for _, id := range s.VolumeIDs() {
		if v := s.Volumes[id]; exportTo(s, v, initiator) != nil && !exportTo(s, v, initiator).Numbered {
			all = append(all, iscsi.Listing{IQN: s.IQN(v), Portals: portals})
		}
	}
	return all
}

// portalsOf are those of all nodes that ever started, up or not: a host that
// discovers during a failure learns the paths that will return.
func portalsOf(s *cluster.State) (all []iscsi.Portal) {
	for _, id := range s.NodeIDs() {
		n := s.Nodes[id]
		if n.Incarnation == 0 || n.Expelled {
			continue
		}
		for _, text := range n.Portals {
			if address, err := netip.ParseAddrPort(text); err == nil {
				all = append(all, iscsi.Portal{Address: address, Group: uint16(id)})
			}
		}
	}
	for _, a := range s.Addresses {
		all = append(all, iscsi.Portal{Address: a.Portal(), Group: a.Group})
	}
	return all
}

// PortalGroup is the node's own, or that of an address which moves.
func (d *directory) PortalGroup(local net.Addr) uint16 {
	if a := movingAt(d.service.consensus.State(), local); a != nil {
		return a.Group
	}
	return uint16(d.service.record.Node)
}

// movingAt is the address that moves at a connection's own end, nil if that is no such.
func movingAt(s *cluster.State, local net.Addr) *cluster.Address {
	tcp, ok := local.(*net.TCPAddr)
	if !ok {
		return nil
	}
	return s.AddressAt(tcp.AddrPort().Addr().Unmap())
}

// readOnly is a device as a host sees it that may only read.
type readOnly struct{ target.Device }

func (r readOnly) Info() target.Info {
	i := r.Device.Info()
	i.ReadOnly = true
	return i
}
