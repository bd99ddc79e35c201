package node

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/engine"
	"ashlar/replication/wire"
	"ashlar/target/iscsi"
	"ashlar/target/nvmetcp"
)

const aboutDisconnect = "disconnect" // parting: end these sessions; Parted

// partingMax bounds how long a node waits for the proof that nothing of the sessions takes effect any more,
// before it answers: who asks waits a second.
const partingMax = 700 * time.Millisecond

// parting is whose sessions to end, at which target and subsystem, or at all.
type parting struct {
	IQN, NQN          string // of the host, empty where it has none
	Target, Subsystem string `json:",omitempty"`
}

// Parted is what became of a host's sessions at a node.
type Parted struct {
	Node     wire.NodeID `json:",omitempty"`
	Sessions int         // that were ended
	Left     int         // of these, whose commands may still take effect
	Silent   bool        `json:",omitempty"` // the node did not answer: its sessions, if any, are as they were
}

// answerDisconnects ends sessions as other nodes ask.
func (s *service) answerDisconnects(e *engine.Engine) {
	e.Answer(aboutDisconnect, func(_ wire.NodeID, body json.RawMessage) any {
		var p parting
		if err := json.Unmarshal(body, &p); err != nil {
			s.log.Warn("a malformed question about hosts", "error", err)
			return Parted{}
		}
		return s.part(p)
	})
}

// part ends sessions, each by its number: so the host may log in again at once.
func (s *service) part(p parting) (out Parted) {
	ctx, cancel := context.WithTimeout(s.ctx, partingMax)
	defer cancel()
	var ends []func() error
	for _, at := range s.server.LoggedIn() {
		if at.Initiator == p.IQN && (p.Target == "" || at.Target == p.Target) {
			ends = append(ends, func() error {
				return s.server.Drain(ctx, iscsi.Scope{Initiator: at.Initiator, Target: at.Target, TSIH: at.TSIH}, 0)
			})
		}
	}
	for _, at := range s.nvme.Connected() {
		if at.Host == p.NQN && (p.Subsystem == "" || at.Subsystem == p.Subsystem) {
			ends = append(ends, func() error {
				return s.nvme.Drain(ctx, nvmetcp.Scope{Host: at.Host, Subsystem: at.Subsystem, Controller: at.Controller}, 0)
			})
		}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, end := range ends {
		all.Go(func() {
			err := end()
			mu.Lock()
			defer mu.Unlock()
			if out.Sessions++; err != nil {
				out.Left++
			}
		})
	}
	all.Wait()
	s.log.Info("sessions of a host were ended by order", "iqn", p.IQN, "nqn", p.NQN, "sessions", out.Sessions)
	return out
}

// Disconnect ends the sessions of a host at all nodes that are up, or at one; with a volume only those that
// are that volume's alone. The host may log in again.
func (n *Node) Disconnect(ctx context.Context, host, volume, at string) ([]Parted, error) {
	e, err := n.running()
	if err != nil {
		return nil, err
	}
	if err := n.knowsHost(host); err != nil {
		return nil, err
	}
	state, err := n.State()
	if err != nil {
		return nil, err
	}
	p := parting{IQN: state.Hosts[host].IQN, NQN: state.Hosts[host].NQN}
	if volume != "" {
		v, err := n.volume(volume)
		if err != nil {
			return nil, err
		}
		for _, x := range v.Exports {
			if x.Host == host && x.Numbered {
				return nil, problem(cluster.Refused, "host %q reaches volume %q through the cluster's target, in one session with its others there", host, volume).
					next("without --volume all sessions of the host are ended")
			}
		}
		p.Target, p.Subsystem = state.IQN(v), state.NQN(v)
	}
	asked, answers := []wire.NodeID{}, map[wire.NodeID]json.RawMessage{}
	if at != "" {
		x, err := n.nodeNamed(at)
		if err != nil {
			return nil, err
		}
		asked = append(asked, x.ID)
		if text, ok := e.Ask(ctx, x.ID, aboutDisconnect, p); ok {
			answers[x.ID] = text
		}
	} else {
		for _, id := range state.NodeIDs() {
			if x := state.Nodes[id]; x.Up && !x.Witness {
				asked = append(asked, id)
			}
		}
		answers = e.AskAll(ctx, aboutDisconnect, p)
	}
	var all []Parted
	for _, id := range asked {
		var got Parted
		if text, ok := answers[id]; !ok || json.Unmarshal(text, &got) != nil {
			got = Parted{Silent: true}
		}
		got.Node = id
		all = append(all, got)
	}
	return all, nil
}
