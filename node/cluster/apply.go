package cluster

import (
	"fmt"
	"regexp"

	"ashlar/replication/wire"
)

// answeredMax bounds how many requests are remembered. A node proposes a
// request again only while it waits for its answer, so a few per node suffice.
const answeredMax = 256

var (
	nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,38}$`)
	iqnRule  = regexp.MustCompile(`^(iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(:[^\s,]+)?|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16,32})$`)
)

// Apply is the state after a command at a raft index, and what the proposer is
// told. A command with a Problem changes nothing but what Answered and Ordered remember.
func (s *State) Apply(index uint64, c Command) (*State, Result) {
	next := s.clone()
	next.Index = index
	defer func() { next.Edited = nil }()
	if c.Request != "" {
		for _, a := range s.Answered {
			if a.Request == c.Request {
				return next, a.Result
			}
		}
	}
	if c.Order != nil {
		if first := s.OrderOf(c.Order.Key); first != nil {
			return next, first.Repeats(*c.Order)
		}
	}
	r := next.change(c)
	next.countLosses()
	if r.Problem != "" {
		next = s.clone()
		next.Index = index
	}
	for id, v := range next.Volumes {
		if before := s.Volumes[id]; before != nil && before != v {
			v.check(before)
		}
	}
	if c.Order != nil {
		next.keepOrder(*c.Order, r)
	}
	if c.Request != "" {
		next.Answered = append(next.Answered, Answer{c.Request, r})
		if n := len(next.Answered) - answeredMax; n > 0 {
			next.Answered = next.Answered[n:]
		}
	}
	return next, r
}

func (s *State) change(c Command) Result {
	if c.Version > FormatVersion {
		return problem(Invalid, "this node knows commands up to version %d and was given one of version %d", FormatVersion, c.Version)
	}
	if c.Create == nil && s.ID == "" {
		return problem(Refused, "there is no cluster yet: create one first")
	}
	switch {
	case c.Create != nil:
		return s.create(c.Create)
	case c.AddNode != nil:
		return s.addNode(c.AddNode)
	case c.Register != nil:
		return s.register(c.Register)
	case c.SetVoter != nil:
		return s.setVoter(c.SetVoter)
	case c.Fence != nil:
		return s.fence(c.Fence)
	case c.AddDisk != nil:
		return s.addDisk(c.AddDisk)
	case c.FailDisk != nil:
		return s.failDisk(c.FailDisk)
	case c.CreateVolume != nil:
		return s.createVolume(c.CreateVolume)
	case c.ResizeVolume != nil:
		return s.resizeVolume(c.ResizeVolume)
	case c.DeleteVolume != nil:
		return s.deleteVolume(c.DeleteVolume)
	case c.AddHost != nil:
		return s.addHost(c.AddHost)
	case c.DeleteHost != nil:
		return s.deleteHost(c.DeleteHost)
	case c.SetNQN != nil:
		return s.setNQN(c.SetNQN)
	case c.SetCHAP != nil:
		return s.setCHAP(c.SetCHAP)
	case c.SetDHCHAP != nil:
		return s.setDHCHAP(c.SetDHCHAP)
	case c.SetExport != nil:
		return s.setExport(c.SetExport)
	case c.Eject != nil:
		return s.eject(c.Eject)
	case c.Join != nil:
		return s.join(c.Join)
	case c.MoveHead != nil:
		return s.moveHead(c.MoveHead)
	case c.MoveHeads != nil:
		return s.moveHeads(c.MoveHeads)
	case c.SetDrained != nil:
		return s.setDrained(c.SetDrained)
	case c.MoveReplica != nil:
		return s.moveReplica(c.MoveReplica)
	case c.Reserve != nil:
		return s.reserve(c.Reserve)
	case c.Replace != nil:
		return s.replace(c.Replace)
	case c.AddAddress != nil:
		return s.addAddress(c.AddAddress)
	case c.RemoveAddress != nil:
		return s.removeAddress(c.RemoveAddress)
	case c.MoveAddress != nil:
		return s.moveAddress(c.MoveAddress)
	case c.SetFabrics != nil:
		return s.setFabrics(c.SetFabrics)
	case c.Demote != nil:
		return s.demote(c.Demote)
	case c.Readmit != nil:
		return s.readmit(c.Readmit)
	case c.Set != nil:
		return s.set(c.Set)
	case c.BadBlocks != nil:
		return s.badBlocks(c.BadBlocks)
	case c.EjectDisk != nil:
		return s.ejectDisk(c.EjectDisk)
	case c.NoteScrub != nil:
		return s.noteScrub(c.NoteScrub)
	case c.SetDiskDrained != nil:
		return s.setDiskDrained(c.SetDiskDrained)
	case c.AddReplica != nil:
		return s.addReplica(c.AddReplica)
	case c.DropReplica != nil:
		return s.dropReplica(c.DropReplica)
	case c.RemoveDisk != nil:
		return s.removeDisk(c.RemoveDisk)
	case c.RemoveNode != nil:
		return s.removeNode(c.RemoveNode)
	case c.NoteDisk != nil:
		return s.noteDisk(c.NoteDisk)
	case c.SetDomain != nil:
		return s.setDomain(c.SetDomain)
	case c.AddToken != nil:
		return s.addToken(c.AddToken)
	case c.DeleteToken != nil:
		return s.deleteToken(c.DeleteToken)
	case c.AddTenant != nil:
		return s.addTenant(c.AddTenant)
	case c.SetTenant != nil:
		return s.setTenant(c.SetTenant)
	case c.DeleteTenant != nil:
		return s.deleteTenant(c.DeleteTenant)
	case c.StartJob != nil:
		return s.startJob(c.StartJob)
	case c.NoteJob != nil:
		return s.noteJob(c.NoteJob)
	case c.CancelJob != nil:
		return s.cancelJob(c.CancelJob)
	case c.NoteFill != nil:
		return s.noteFill(c.NoteFill)
	}
	return problem(Invalid, "the command asks for nothing this node knows")
}

func problem(code Code, format string, args ...any) Result {
	return Result{Code: code, Problem: fmt.Sprintf(format, args...)}
}

func (s *State) create(c *Create) Result {
	if s.ID != "" {
		return problem(Exists, "this node is already in cluster %q", s.Name)
	}
	if !nameRule.MatchString(c.Name) {
		return badName("cluster", c.Name)
	}
	if c.ID == "" {
		return problem(Invalid, "a cluster needs an identity")
	}
	if c.SegmentBytes < 1<<20 || c.SegmentBytes > 4<<30 || c.SegmentBytes&(c.SegmentBytes-1) != 0 {
		return problem(Invalid, "the segment size must be a power of two from 1 MiB to 4 GiB, not %d bytes", c.SegmentBytes)
	}
	if c.Node.Witness {
		return problem(Refused, "a witness holds no data, so it cannot be the first node: create the cluster on another, and have the witness join")
	}
	s.ID, s.Name, s.SegmentBytes = c.ID, c.Name, c.SegmentBytes
	s.Authority, s.Secret, s.GossipKey = c.Authority, c.Secret, c.GossipKey
	r := s.addNode(&c.Node)
	if r.Problem == "" {
		s.editNode(r.Node).Voter = true
	}
	return r
}

func badName(what, name string) Result {
	return problem(Invalid, "%q is no %s name: use 1 to 39 of a-z, 0-9 and -, beginning with a letter or digit", name, what)
}

func (s *State) addNode(c *AddNode) Result {
	if !nameRule.MatchString(c.Name) {
		return badName("node", c.Name)
	}
	if s.NodeNamed(c.Name) != nil {
		return problem(Exists, "a node named %q is already in cluster %q", c.Name, s.Name)
	}
	for _, id := range s.NodeIDs() {
		if s.Nodes[id].Peer == c.Peer && s.Nodes[id].present() {
			return problem(Exists, "node %q already has the address %s", s.Nodes[id].Name, c.Peer)
		}
	}
	s.LastNode++
	s.Nodes[s.LastNode] = &Node{ID: s.LastNode, Name: c.Name, Peer: c.Peer, Gossip: c.Gossip, Portals: c.Portals, Witness: c.Witness}
	return Result{Node: s.LastNode}
}

func (s *State) register(c *Register) Result {
	if !s.Nodes[c.Node].present() {
		return problem(NotFound, "no node %d in cluster %q", c.Node, s.Name)
	}
	n := s.editNode(c.Node)
	n.Incarnation++
	n.Up, n.Leaving, n.Awaited = true, false, false
	n.Peer, n.Gossip, n.Portals, n.Fabrics = c.Peer, c.Gossip, c.Portals, nil
	n.NVMe, n.Discovery = c.NVMe, c.Discovery
	s.endSessions(n.ID)
	s.forgetAddresses()
	s.forget(func(r Replica) bool { return r.Node == n.ID })
	s.settle()
	return Result{Node: n.ID, Incarnation: n.Incarnation}
}

func (s *State) setVoter(c *SetVoter) Result {
	if s.Nodes[c.Node] == nil {
		return problem(NotFound, "no node %d", c.Node)
	}
	s.editNode(c.Node).Voter = c.Voter
	return Result{}
}

func (s *State) fence(c *Fence) Result {
	if !c.Refused {
		votes := map[wire.NodeID]bool{}
		for _, b := range c.Ballots {
			n := s.Nodes[b.Voter]
			if n == nil || !n.Voter || !n.Up || n.Incarnation != b.Incarnation {
				return problem(Stale, "the vote of node %d is not of a voter's present incarnation", b.Voter)
			}
			votes[b.Voter] = true
		}
		if voters := len(s.Voters()); len(votes) <= voters/2 {
			return problem(Refused, "%d of %d voters are no majority", len(votes), voters)
		}
	}
	some := false
	for _, d := range c.Dead {
		if n := s.Nodes[d.Node]; n != nil && n.Up && n.Incarnation == d.Incarnation {
			s.editNode(d.Node).Up = false
			s.endSessions(d.Node)
			some = true
		}
	}
	if !some {
		return problem(Stale, "none of these incarnations is up")
	}
	s.forgetAddresses()
	s.settle()
	return Result{}
}

func (s *State) addDisk(c *AddDisk) Result {
	if s.Nodes[c.Node] == nil {
		return problem(NotFound, "no node %d", c.Node)
	}
	if n := s.Nodes[c.Node]; n.Witness {
		return problem(Refused, "node %q is a witness: it votes, and holds no disks", n.Name)
	}
	if d := s.Disks[c.ID]; d != nil {
		return problem(Exists, "disk %s is already in the pool, on node %q", c.ID, s.Nodes[d.Node].Name)
	}
	s.Disks[c.ID] = &Disk{ID: c.ID, Node: c.Node, Path: c.Path, Size: c.Size, Opened: s.Nodes[c.Node].Incarnation}
	return Result{}
}

func (s *State) failDisk(c *FailDisk) Result {
	if s.Disks[c.ID] == nil {
		return problem(NotFound, "no disk %s", c.ID)
	}
	d := s.editDisk(c.ID)
	s.forget(func(r Replica) bool { return r.Disk == c.ID && !d.Failed })
	d.Failed, d.Outdated = true, d.Outdated || c.Outdated && !d.Failed
	s.settle()
	return Result{}
}

func (s *State) deleteVolume(c *DeleteVolume) Result {
	v := s.VolumeNamed(c.Name)
	if v == nil {
		return problem(NotFound, "no volume %q", c.Name)
	}
	if len(v.Exports) > 0 {
		return problem(Refused, "volume %q is published to host %q: take that back first (ashlar export delete %s %s)",
			v.Name, v.Exports[0].Host, v.Name, v.Exports[0].Host)
	}
	s.endJobsOf(v)
	delete(s.Volumes, v.ID)
	return Result{Volume: v.ID}
}

func (s *State) addHost(c *AddHost) Result {
	if !nameRule.MatchString(c.Name) {
		return badName("host", c.Name)
	}
	if (c.IQN != "" || c.NQN == "") && (!iqnRule.MatchString(c.IQN) || len(c.IQN) > 223) {
		return problem(Invalid, "%q is no initiator name: it looks like iqn.1993-08.org.debian:01:abcdef (see /etc/iscsi/initiatorname.iscsi on the host)", c.IQN)
	}
	if h := s.Hosts[c.Name]; h != nil {
		return problem(Exists, "host %q with %s is there already", h.Name, h.names())
	}
	// At most one has this IQN, so that the map's order does not reach the answer.
	if h := s.HostWith(c.IQN); h != nil {
		return problem(Exists, "host %q with %s is there already", h.Name, h.names())
	}
	if c.NQN != "" {
		if r := s.checkNQN(c.NQN); r.Problem != "" {
			return r
		}
	}
	if c.Tenant != "" && s.Tenants[c.Tenant] == nil {
		return problem(NotFound, "no tenant %q", c.Tenant)
	}
	s.Hosts[c.Name] = &Host{Name: c.Name, IQN: c.IQN, NQN: c.NQN, Tenant: c.Tenant}
	return Result{}
}

func (s *State) deleteHost(c *DeleteHost) Result {
	if s.Hosts[c.Name] == nil {
		return problem(NotFound, "no host %q", c.Name)
	}
	for _, id := range s.VolumeIDs() {
		for _, e := range s.Volumes[id].Exports {
			if e.Host == c.Name {
				return problem(Refused, "volume %q is published to host %q: take that back first", s.Volumes[id].Name, c.Name)
			}
		}
	}
	delete(s.Hosts, c.Name)
	return Result{}
}
