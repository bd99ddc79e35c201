package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/cluster/consensus"
)

// Release is what it would mean to form the cluster anew of one node, because the others
// will not come back.
type Release struct {
	Cluster  string // name
	Node     string
	Lineage  string   // of the cluster as it is; empty: the first
	Expelled []string // nodes that can never come back as they are
	// Older: the others can have agreed on changes that this node does not know of, so
	// what it takes for the latest may be old.
	Older   bool
	Volumes []ReleasedVolume
}

// ReleasedVolume is what becomes of one volume.
type ReleasedVolume struct {
	Name           string
	Bytes          uint64
	Segments, Lost int  // Lost: without an in-sync copy on this node
	Waits          bool // writes wait for more copies all the same
}

// answerTime is what whoever ordered a release gets to hear that it begins.
const answerTime = 300 * time.Millisecond

// releaseFile is a release that was ordered, and is carried out before the node takes part in
// anything again.
const releaseFile = "release.json"

type releaseOrder struct {
	Lineage string `json:"lineage"`
}

// releaseOf plans from what a node knows by itself.
func releaseOf(l *consensus.Local, r record) (*Release, error) {
	s := l.State
	me := s.Nodes[r.Node]
	switch {
	case s.ID == "" || me == nil:
		return nil, problem(cluster.Refused, "this node has never heard from its cluster: nothing can be formed of it").next("ashlar cluster reset makes it a new one")
	case r.Witness:
		return nil, problem(cluster.Refused, "this node is a witness: it holds no data that could go on").next("release on a node with disks")
	}
	out := &Release{Cluster: s.Name, Node: me.Name, Lineage: s.Lineage, Older: !s.KnowsAll(r.Node, l.Voters)}
	for _, id := range s.NodeIDs() {
		if n := s.Nodes[id]; id != r.Node && !n.Expelled {
			out.Expelled = append(out.Expelled, n.Name)
		}
	}
	if len(out.Expelled) == 0 {
		return nil, problem(cluster.Refused, "this node is the only one of cluster %q: there is nobody to release it from", s.Name)
	}
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		out.Volumes = append(out.Volumes, ReleasedVolume{Name: v.Name, Bytes: v.Bytes, Segments: len(v.Segments),
			Lost: len(v.Segments) - s.Remains(v, r.Node), Waits: v.MinInSync > 1})
	}
	return out, nil
}

// PlanRelease says what a release of this node would mean. It is refused while the cluster works.
func (n *Node) PlanRelease() (*Release, error) {
	s, err := n.member()
	if err != nil {
		return nil, err
	}
	if err := s.refusal(); err != nil {
		return nil, err
	}
	if _, leads := s.consensus.Leader(); leads || s.ready() {
		return nil, problem(cluster.Refused, "cluster %q has a leader: nothing is held up that a release would set free", s.record.ClusterName)
	}
	local, err := s.consensus.Local()
	if err != nil {
		return nil, err
	}
	return releaseOf(local, s.record)
}

// Release orders it; the incarnation is then over, and the next one goes on alone. confirm is the cluster's
// name; older accepts a state that may be old.
func (n *Node) Release(_ context.Context, confirm string, older bool) (*Release, error) {
	n.orders.Lock()
	defer n.orders.Unlock()
	plan, err := n.PlanRelease()
	if err == nil {
		err = plan.accepted(confirm, older)
	}
	if err != nil {
		return nil, err
	}
	if err := n.folder.order(); err != nil {
		return nil, err
	}
	time.AfterFunc(answerTime, func() { n.end(ErrFenced) })
	return plan, nil
}

func (p *Release) accepted(confirm string, older bool) error {
	switch {
	case confirm != p.Cluster:
		return problem(cluster.Refused, "a release has to be confirmed with the cluster's name, which is %q, not %q", p.Cluster, confirm)
	case p.Older && !older:
		return problem(cluster.Refused, "the other voters of cluster %q can have gone on without this node: what it has may be old", p.Cluster).
			next("bring one more of them back; if none can be, add --accept-older")
	}
	return nil
}

func (f *folder) order() error {
	text, err := json.Marshal(releaseOrder{Lineage: randomHex(16)})
	if err != nil {
		return err
	}
	return f.write(releaseFile, text)
}

// ordered is the release that was ordered; nil if none was.
func (f *folder) ordered() (*releaseOrder, error) {
	text, err := os.ReadFile(filepath.Join(f.path, releaseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var o releaseOrder
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err == nil && o.Lineage == "" {
		err = fmt.Errorf("%s in %s is damaged", releaseFile, f.path)
	}
	return &o, err
}

// carryOut forms the cluster anew as ordered. Each step may be repeated, and the order goes last.
func (f *folder) carryOut(r *record, o releaseOrder) error {
	err := consensus.Reform(f.raft(), r.Node, func(s *cluster.State) *cluster.State {
		if s.Lineage == o.Lineage {
			return s
		}
		return s.Reform(r.Node, o.Lineage)
	})
	if err != nil {
		return err
	}
	r.Lineage = o.Lineage
	if err := f.keep(*r); err != nil {
		return err
	}
	return errors.Join(os.Remove(filepath.Join(f.path, releaseFile)), syncFolder(f.path))
}

// OfflineRelease plans the release of the node in a folder that no process serves, and
// orders it if confirm is not empty: it is carried out when the node starts.
func OfflineRelease(dir, confirm string, older bool) (*Release, error) {
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err != nil {
		return nil, problem(NoCluster, "%s is the folder of no node of a cluster", dir)
	}
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	r, err := f.record()
	if err != nil {
		return nil, err
	}
	if o, err := f.ordered(); err != nil || o != nil {
		return nil, errors.Join(err, problem(cluster.Refused, "a release of this node is ordered already").next("start the node: ashlar serve"))
	}
	local, err := consensus.ReadLocal(f.raft())
	if err != nil {
		return nil, err
	}
	plan, err := releaseOf(local, *r)
	if err != nil || confirm == "" {
		return plan, err
	}
	if err := plan.accepted(confirm, older); err != nil {
		return nil, err
	}
	return plan, f.order()
}

// Advice is what to do about a cluster that this node cannot reach; empty where it can, or where waiting is all.
func (n *Node) Advice() string {
	if refused := n.Refused(); refused != "" {
		return refused
	}
	plan, err := n.PlanRelease()
	if err != nil {
		return ""
	}
	command := "ashlar cluster release --accept-loss --confirm " + plan.Cluster
	if plan.Older {
		command += " --accept-older"
	}
	return "bring the other voters back. If they are lost for ever, `ashlar cluster release` shows what would go on without them, and `" + command + "` does it"
}

// Reset makes this node one that belongs to no cluster, so that it can join anew. It is allowed only
// where the cluster goes on without it, or where all that the node knew of it is lost.
func (n *Node) Reset(_ context.Context, confirm string) error {
	n.orders.Lock()
	defer n.orders.Unlock()
	s, err := n.member()
	if err != nil {
		return err
	}
	switch {
	case s.refusal() == nil && !s.knowsNothing():
		return problem(cluster.Refused, "no node has told this one that cluster %q goes on without it", s.record.ClusterName).
			next("only a node that is refused, or that has lost what it knew, can be reset; ashlar cluster status says whether it is")
	case confirm != s.record.ClusterName:
		return problem(cluster.Refused, "a reset has to be confirmed with the cluster's name, which is %q, not %q", s.record.ClusterName, confirm)
	}
	if err := errors.Join(os.Remove(filepath.Join(n.folder.path, "node.json")), syncFolder(n.folder.path)); err != nil {
		return err
	}
	n.service.Store(nil)
	return errors.Join(s.close(), n.folder.clear())
}
