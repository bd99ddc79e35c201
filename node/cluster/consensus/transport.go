package consensus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// Raft knows servers by their node number only, as ID and as address, so its
// configuration never changes because a node moved.
func serverID(id wire.NodeID) raft.ServerID           { return raft.ServerID(strconv.Itoa(int(id))) }
func serverAddress(id wire.NodeID) raft.ServerAddress { return raft.ServerAddress(serverID(id)) }

// nodeID is 0 for what is no number.
func nodeID[S ~string](s S) wire.NodeID {
	id, err := strconv.ParseUint(string(s), 10, 16)
	if err != nil {
		return 0
	}
	return wire.NodeID(id)
}

// book holds the nodes' addresses, also on disk: after a restart raft needs its
// peers before it can agree on any state that names them.
type book struct {
	disk    raft.StableStore
	network *peer.Network
	mu      sync.Mutex
	entries map[wire.NodeID]string
}

var bookKey = []byte("ashlar addresses")

func openBook(disk raft.StableStore, network *peer.Network, hints map[wire.NodeID]string) (*book, error) {
	b := &book{disk: disk, network: network, entries: map[wire.NodeID]string{}}
	text, err := disk.Get(bookKey)
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &b.entries)
	}
	if err != nil {
		return nil, fmt.Errorf("consensus: address book: %w", err)
	}
	next := maps.Clone(b.entries)
	maps.Copy(next, hints)
	return b, b.replace(next)
}

// follow takes the addresses from the state, once a cluster exists.
func (b *book) follow(s *cluster.State) error {
	if s.ID == "" {
		return nil
	}
	next := map[wire.NodeID]string{}
	for id, n := range s.Nodes {
		if !n.Expelled {
			next[id] = n.Peer
		}
	}
	return b.replace(next)
}

func (b *book) replace(next map[wire.NodeID]string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.network.SetPeers(next)
	if maps.Equal(next, b.entries) {
		return nil
	}
	b.entries = next
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return b.disk.Set(bookKey, text)
}

func (b *book) nodes() []wire.NodeID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.entries))
}

func (b *book) address(id wire.NodeID) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.entries[id]; a != "" {
		return a, nil
	}
	return "", fmt.Errorf("consensus: the address of node %d is not known", id)
}

// stream is the raft class of node/peer as a raft.StreamLayer.
type stream struct {
	net.Listener
	network *peer.Network
	book    *book
	silent  func() error // why raft must not be heard any more, if so
}

func (s stream) Addr() net.Addr { return ownAddress(s.network.ID()) }

func (s stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if err := s.silent(); err != nil {
		return nil, err
	}
	id := nodeID(to)
	address, err := s.book.address(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.network.Dial(ctx, id, address, peer.Raft)
	if err != nil {
		return nil, err // not a nil *tls.Conn in an interface
	}
	return conn, nil
}

type ownAddress wire.NodeID

func (ownAddress) Network() string  { return "ashlar" }
func (a ownAddress) String() string { return strconv.Itoa(int(a)) }
