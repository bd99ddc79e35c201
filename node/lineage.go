package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// Lineage: the code of a node that its cluster goes on without.
const Lineage cluster.Code = "other-lineage"

const lineagePath = "/v1/lineage"

// lineageAnswer is what a node tells another of its lineage.
type lineageAnswer struct {
	Lineage string
	Node    string
}

func (s *service) handleLineage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(lineageAnswer{s.record.Lineage, s.record.Name})
}

// refusal is why this node takes part in nothing any more: another has told it that the
// cluster was formed anew without it, or the cluster that it was removed. nil: nobody has.
func (s *service) refusal() error {
	var p *Problem
	if by := s.refused.Load(); by != nil {
		p = problem(Lineage, "cluster %q was formed anew without this node (node %q is of lineage %s): its copies are not taken", s.record.ClusterName, by.Node, by.Lineage)
	} else if s.removed.Load() {
		p = problem(Lineage, "this node was removed from cluster %q: its copies are not taken", s.record.ClusterName)
	} else {
		return nil
	}
	return p.next("wipe it with `ashlar cluster reset --confirm %s`, then have it join anew and add its disks with --force", s.record.ClusterName)
}

// Refused is why this node takes part in nothing any more, and what to do about it; empty where it does.
func (n *Node) Refused() string {
	s := n.service.Load()
	if s == nil {
		return ""
	}
	if p := (*Problem)(nil); errors.As(s.refusal(), &p) {
		return p.Text + ": " + p.Next
	}
	return ""
}

// metStranger asks a node that has no protocol in common with this one for its lineage.
func (s *service) metStranger(e peer.Event) {
	if !errors.Is(e.Err, peer.ErrLineage) || s.ctx.Err() != nil || s.refused.Load() != nil || s.asking.Swap(true) {
		return
	}
	go func() {
		defer s.asking.Store(false)
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		other, err := s.askLineage(ctx, e.Peer, e.Address)
		switch {
		case err != nil:
			s.log.Debug("asking for a lineage", "peer", e.Peer, "error", err)
		case other.Lineage != s.record.Lineage:
			s.refused.Store(&other)
			s.log.Error("this node is refused", "error", s.refusal())
		}
	}()
}

func (s *service) askLineage(ctx context.Context, id wire.NodeID, address string) (answer lineageAnswer, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.network.Dial(ctx, id, address, peer.API)
		}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+lineagePath, nil)
	if err != nil {
		return answer, err
	}
	response, err := client.Do(r)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(io.LimitReader(response.Body, joinMax)).Decode(&answer)
	return answer, err
}

// local is what this node knows by itself, for people, while it has heard from nobody
// since it started; nil where that is nothing.
func (s *service) local() *cluster.State {
	if _, leads := s.consensus.Leader(); leads {
		return nil
	}
	l, err := s.consensus.Local()
	if err != nil || l.State.ID == "" {
		return nil
	}
	return l.State
}

// knowsNothing says whether this node has neither heard from its cluster nor kept anything of it.
func (s *service) knowsNothing() bool {
	if _, leads := s.consensus.Leader(); leads || s.consensus.State().ID != "" {
		return false
	}
	l, err := s.consensus.Local()
	return err == nil && l.State.ID == ""
}
