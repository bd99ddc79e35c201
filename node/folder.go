package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ashlar/replication/wire"
)

// folder is a node's own: it holds who the node is, and raft's log.
//
//	lock            held while a process runs on the folder
//	node.json       which node of which cluster; written last, so without it there is none
//	identity/       certificate and key
//	secret          the join secret
//	raft/           log, snapshots
//	events.log      what happened in the cluster lately
//	api.sock        orders
//	audit.log       who gave them (audit.log.1: earlier ones)
type folder struct {
	path string
	lock *os.File
}

// folderVersion is that of node.json and of what it stands for.
const folderVersion = 1

// record is node.json.
type record struct {
	Version     int         `json:"version"`
	Cluster     string      `json:"cluster"` // its identity
	ClusterName string      `json:"cluster_name"`
	Node        wire.NodeID `json:"node"`
	Name        string      `json:"name"`
	Witness     bool        `json:"witness,omitempty"`
	Lineage     string      `json:"lineage,omitempty"` // the cluster's, when this node last entered or formed it
}

// openFolder makes the folder if it is not there and takes its lock, so that
// one identity never runs twice.
func openFolder(path string) (*folder, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(os.MkdirAll(path, 0o700), syncFolder(filepath.Dir(path)))
	}
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, problem(InUse, "another process serves the folder %s", path)
	}
	return &folder{path, lock}, nil
}

func (f *folder) close() error { return f.lock.Close() }

func (f *folder) identity() string { return filepath.Join(f.path, "identity") }
func (f *folder) raft() string     { return filepath.Join(f.path, "raft") }
func (f *folder) events() string   { return filepath.Join(f.path, eventsFile) }

// record reads node.json. Nil: the node belongs to no cluster.
func (f *folder) record() (*record, error) {
	path := filepath.Join(f.path, "node.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if r.Version > folderVersion {
		return nil, problem(TooNew, "%s was written by a later release (version %d; this one knows %d)", path, r.Version, folderVersion).
			next("run the release that wrote it, or a later one")
	}
	if r.Version < 1 || r.Cluster == "" || r.Node == 0 {
		return nil, fmt.Errorf("%s is damaged: it names no node of a cluster", path)
	}
	return &r, nil
}

// keep writes node.json, durably: from now on the folder is that node's.
func (f *folder) keep(r record) error {
	r.Version = folderVersion
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return f.write("node.json", append(text, '\n'))
}

// clear removes what an attempt that did not come to its end left behind.
func (f *folder) clear() error {
	return errors.Join(os.RemoveAll(f.identity()), os.RemoveAll(f.raft()), os.RemoveAll(filepath.Join(f.path, "secret")), os.RemoveAll(f.events()))
}

func (f *folder) keepSecret(text string) error { return f.write("secret", []byte(text+"\n")) }

func (f *folder) secret() (string, error) {
	text, err := os.ReadFile(filepath.Join(f.path, "secret"))
	return strings.TrimSpace(string(text)), err
}

// write replaces a file that only its owner may read, durably.
func (f *folder) write(name string, text []byte) (err error) {
	t, err := os.CreateTemp(f.path, name+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(t.Name())
		}
	}()
	_, err = t.Write(text)
	if err = errors.Join(err, t.Sync(), t.Close()); err != nil {
		return err
	}
	if err = os.Rename(t.Name(), filepath.Join(f.path, name)); err != nil {
		return err
	}
	return syncFolder(f.path)
}

// syncFolder makes the names in a folder outlive a power cut (fsync(2)).
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
