package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
	"ashlar/node/logging"
	"ashlar/replication/wire"
)

// Local is what a node knows by itself, without a majority: all that is in its snapshot and log,
// agreed on or not, as a leader would take it on.
type Local struct {
	State  *cluster.State
	Voters []wire.NodeID // of the latest configuration
	last   uint64        // raft index
	term   uint64
}

// Local is this node's, though nobody leads.
func (c *Consensus) Local() (*Local, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(c.config.Folder, snapshotsKept, logging.Hashi(c.config.Log))
	if err != nil {
		return nil, err
	}
	return readLocal(c.store, files)
}

// ReadLocal is that of a folder which no process has open.
func ReadLocal(folder string) (*Local, error) {
	store, files, err := openOffline(folder)
	if err != nil {
		return nil, err
	}
	local, err := readLocal(store, files)
	return local, errors.Join(err, store.Close())
}

func openOffline(folder string) (*store, *raft.FileSnapshotStore, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, nil, fmt.Errorf("consensus: %w", err)
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(folder, snapshotsKept, logging.Hashi(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, nil, fmt.Errorf("consensus: %w", err)
	}
	s, err := openStore(filepath.Join(folder, "raft.db"))
	return s, files, err
}

func readLocal(s *store, files raft.SnapshotStore) (*Local, error) {
	var broken error
	m := newMachine(func(*cluster.State) {}, func(err error) { broken = err })
	l := &Local{}
	metas, err := files.List()
	if err != nil {
		return nil, err
	}
	if len(metas) > 0 {
		_, content, err := files.Open(metas[0].ID)
		if err == nil {
			err = m.Restore(content)
		}
		if err != nil {
			return nil, err
		}
		l.last, l.term = metas[0].Index, metas[0].Term
	}
	end, err := s.LastIndex()
	if err != nil {
		return nil, err
	}
	for i := l.last + 1; i <= end; i++ {
		var entry raft.Log
		if err := s.GetLog(i, &entry); err != nil {
			return nil, fmt.Errorf("consensus: entry %d: %w", i, err)
		}
		if entry.Type == raft.LogCommand {
			m.Apply(&entry)
		}
		l.last, l.term = entry.Index, entry.Term
	}
	if broken != nil {
		return nil, broken
	}
	seen, err := readConfigurations(s, files)
	if err != nil {
		return nil, err
	}
	_, servers := seen.latest()
	l.Voters, _ = split(servers)
	l.State = m.view.Load().state
	return l, nil
}

// Reform makes a folder, which no process has open, that of the only voter of a cluster whose state is what
// change makes of the folder's own; it may be empty. Where it breaks off it is repeated: change is called again, and
// with what it made itself if that had become durable.
func Reform(folder string, id wire.NodeID, change func(*cluster.State) *cluster.State) (err error) {
	s, files, err := openOffline(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := readLocal(s, files)
	if err != nil {
		return err
	}
	term, err := s.GetUint64([]byte("CurrentTerm")) // raft's own names
	if err != nil {
		return err
	}
	next := *change(l.State)
	term, index := max(term, l.term)+1, max(l.last, next.Index)+1
	next.Index = index
	configuration := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: serverID(id), Address: serverAddress(id)}}}
	_, transport := raft.NewInmemTransport(serverAddress(id)) // only to write addresses down
	sink, err := files.Create(raft.SnapshotVersionMax, index, term, configuration, index, transport)
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	if err := (snapshot{state: &next}).Persist(sink); err != nil {
		return err
	}
	book, err := json.Marshal(map[wire.NodeID]string{id: next.Nodes[id].Peer})
	if err != nil {
		return err
	}
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	return errors.Join(s.SetUint64([]byte("CurrentTerm"), term), s.Set(bookKey, book), s.DeleteRange(first, l.last))
}
