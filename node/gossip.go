package node

import (
	"context"
	"time"

	"ashlar/node/member"
)

// gossip takes part in the cluster's membership until the service ends. It
// decides nothing: a node without it works the same, so what goes wrong here is
// only tried again.
func (s *service) gossip() {
	const again = 10 * time.Second
	for s.ctx.Err() == nil {
		agent, err := member.Start(member.Config{Node: s.record.Node, Name: s.record.Name, Cluster: s.record.Cluster,
			Listen: s.node.config.gossip(), Key: s.consensus.State().GossipKey, Log: s.log})
		if err != nil {
			s.log.Warn("membership", "error", err)
			pause(s.ctx, again)
			continue
		}
		s.tasks.Go(func() { s.hear(agent) })
		for s.ctx.Err() == nil {
			s.seek(agent)
			pause(s.ctx, again)
		}
		s.leave(agent)
	}
}

// seek makes contact while this node knows fewer members than there are nodes.
func (s *service) seek(agent *member.Agent) {
	alive := map[string]bool{}
	for _, m := range agent.Members() {
		alive[m.Address] = m.Alive
	}
	var others []string
	for _, n := range s.consensus.State().Nodes {
		if n.ID != s.record.Node && n.Incarnation != 0 && !n.Expelled && !alive[n.Gossip] {
			others = append(others, n.Gossip)
		}
	}
	if len(others) == 0 {
		return
	}
	if err := agent.Join(others); err != nil {
		s.log.Debug("membership: nobody answers", "error", err)
	}
}

// hear logs who seems to come and go.
func (s *service) hear(agent *member.Agent) {
	for e := range agent.Events() {
		if e.Member.Node != s.record.Node {
			s.log.Info("membership", "event", e.Kind.String(), "member", e.Member.Name, "address", e.Member.Address)
		}
	}
}

// leave says goodbye, if that does not take long.
func (s *service) leave(agent *member.Agent) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	left := make(chan struct{})
	go func() {
		defer close(left)
		if err := agent.Leave(); err != nil {
			s.log.Debug("membership: leaving", "error", err)
		}
	}()
	select {
	case <-left:
	case <-ctx.Done():
	}
	if err := agent.Shutdown(); err != nil {
		s.log.Debug("membership: shutting down", "error", err)
	}
}
