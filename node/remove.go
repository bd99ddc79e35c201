package node

import (
	"context"

	"ashlar/node/cluster"
)

// DrainDisk has all copies on a disk go to other nodes' disks, which takes its
// time, or has it keep and take copies again.
func (n *Node) DrainDisk(ctx context.Context, id string, drained bool) error {
	return n.order(ctx, cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: cluster.DiskID(id), Drained: drained}})
}

// SetDomain says with which other nodes a node may fail together: those with the same label.
func (n *Node) SetDomain(ctx context.Context, name, domain string) error {
	node, err := n.nodeNamed(name)
	if err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{SetDomain: &cluster.SetDomain{Node: node.ID, Domain: domain}})
}

// RemoveDisk takes a disk without copies out of the pool; with giveUp those that are not in sync are given up.
func (n *Node) RemoveDisk(ctx context.Context, id string, giveUp bool) error {
	s, err := n.State()
	if err != nil {
		return err
	}
	err = n.order(ctx, cluster.Command{RemoveDisk: &cluster.RemoveDisk{Disk: cluster.DiskID(id), GiveUp: giveUp}})
	return advise(err, "%s", adviceOn(s, cluster.DiskID(id)))
}

// RemoveNode takes a node that has stopped out of the cluster, for good; dead gives up what its disks hold
// and others have.
func (n *Node) RemoveNode(ctx context.Context, name string, dead bool) error {
	node, err := n.nodeNamed(name)
	if err != nil {
		return err
	}
	s, err := n.State()
	if err != nil {
		return err
	}
	var disks []cluster.DiskID
	for _, id := range s.DiskIDs() {
		if s.Disks[id].Node == node.ID {
			disks = append(disks, id)
		}
	}
	err = n.order(ctx, cluster.Command{RemoveNode: &cluster.RemoveNode{Node: node.ID, Dead: dead}})
	held := s.HeldOn(disks...)
	switch {
	case node.Up && held.Copies > 0:
		return advise(err, "ashlar node drain %s --data moves what it holds; then stop it there (systemctl stop ashlar)", name)
	case node.Up:
		return advise(err, "stop it there (systemctl stop ashlar)")
	case len(held.Sole) > 0:
		return advise(err, "bring the node back, or delete these volumes")
	}
	return advise(err, "bring the node back and drain it (ashlar node drain %s --data), or, if it is lost: ashlar node remove %s --dead", name, name)
}

// adviceOn is what to do with a disk that cannot be removed.
func adviceOn(s *cluster.State, id cluster.DiskID) string {
	d := s.Disks[id]
	switch {
	case d == nil:
		return "ashlar disk list shows all disks"
	case len(s.HeldOn(id).Sole) > 0 && (d.Failed || !s.Nodes[d.Node].Up):
		return "bring it back, or delete these volumes"
	case d.Failed || !s.Nodes[d.Node].Up:
		return "they are made elsewhere as soon as there is a place (ashlar disk list); --dead gives them up now"
	}
	return "ashlar disk drain " + string(id) + " moves them, and ashlar disk list shows how far that is"
}

// advise adds what to do to the cluster's refusal.
func advise(err error, format string, args ...any) error {
	if p, ok := err.(*Problem); ok && p.Next == "" && p.Code != NotReady {
		return p.next(format, args...)
	}
	return err
}
