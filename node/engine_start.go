package node

import (
	"ashlar/node/engine"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// startEngine begins the data path of a registered incarnation.
func (s *service) startEngine(incarnation wire.Incarnation) (Engine, error) {
	e, err := engine.Start(engine.Config{Self: s.record.Node, Incarnation: incarnation, Consensus: s.consensus, Network: s.network, Log: s.log})
	if err != nil {
		return nil, err
	}
	s.data.Store(e)
	return e, nil
}

// peerEvent passes the network's news to the data path.
func (s *service) peerEvent(ev peer.Event) {
	if e := s.data.Load(); e != nil {
		e.PeerEvent(ev)
	}
}
