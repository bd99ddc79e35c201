package cluster

import (
	"fmt"

	"ashlar/replication/wire"
)

// SetDomain says which nodes may fail together, as those of a rack: those with the same
// label. Copies of a segment are placed in different domains where there are
// enough. Without a label a node is a domain of its own.
type SetDomain struct {
	Node   wire.NodeID
	Domain string
}

func (s *State) setDomain(c *SetDomain) Result {
	switch {
	case !s.Nodes[c.Node].present():
		return problem(NotFound, "no node %d", c.Node)
	case c.Domain != "" && !nameRule.MatchString(c.Domain):
		return badName("domain", c.Domain)
	}
	s.editNode(c.Node).Domain = c.Domain
	return Result{Node: c.Node}
}

// domainOf is the fault domain of a node. No label has a blank in it.
func (s *State) domainOf(id wire.NodeID) string {
	if d := s.Nodes[id].Domain; d != "" {
		return d
	}
	return fmt.Sprint("node ", id)
}

// Doubled is a copy of a segment that shares its fault domain with another one, the last of
// them, or nil where all are apart. One on its way elsewhere does not count.
func (s *State) Doubled(g Segment) (doubled *Replica) {
	x := g.Coming()
	for i := range g.Replicas {
		if x != nil && x.Replaces == g.Replicas[i].Disk {
			continue
		}
		for k := range i {
			if d := s.domainOf(g.Replicas[i].Node); d == s.domainOf(g.Replicas[k].Node) && (x == nil || x.Replaces != g.Replicas[k].Disk) {
				doubled = &g.Replicas[i]
			}
		}
	}
	return doubled
}

// apart says whether a node's fault domain is another than those of some nodes.
func (s *State) apart(id wire.NodeID, from []wire.NodeID) bool {
	for _, n := range from {
		if s.domainOf(n) == s.domainOf(id) {
			return false
		}
	}
	return true
}
