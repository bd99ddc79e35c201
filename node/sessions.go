package node

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// Session is a host's login at a node: of iSCSI a session, of NVMe/TCP a controller.
type Session struct {
	Node     wire.NodeID
	Host     string // its name in the cluster; empty: it is not known any more
	Name     string // IQN or NQN of the host
	Target   string // IQN of the target, or NQN of the subsystem
	Sessions int    // of that host there
}

// Sessions are those at all nodes that answer within a second.
func (n *Node) Sessions(ctx context.Context) ([]Session, error) {
	e, err := n.running()
	if err != nil {
		return nil, err
	}
	state, err := n.State()
	if err != nil {
		return nil, err
	}
	all := []Session{}
	for id, text := range e.AskAll(ctx, aboutHosts, nil) {
		var logins []visit
		if err := json.Unmarshal(text, &logins); err != nil {
			n.log.Warn("a malformed answer about hosts", "from", id, "error", err)
			continue
		}
		for _, who := range logins {
			x := Session{Node: id, Host: hostNamed(state, who.Initiator), Name: who.Initiator, Target: who.Target, Sessions: 1}
			i := slices.IndexFunc(all, func(o Session) bool { return o.Node == x.Node && o.Name == x.Name && o.Target == x.Target })
			if i >= 0 {
				all[i].Sessions++
			} else {
				all = append(all, x)
			}
		}
	}
	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Node, b.Node))
	})
	return all, nil
}

// hostNamed is the host that has an IQN or NQN.
func hostNamed(s *cluster.State, name string) string {
	for _, h := range s.Hosts {
		if h.IQN == name || h.NQN == name {
			return h.Name
		}
	}
	return ""
}
