package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/cluster/consensus"
	"ashlar/node/disk"
	"ashlar/replication/wire"
)

// InspectDisk is what a device or file tells about itself. It needs no daemon, and writes nothing.
func InspectDisk(path string) (cluster.FoundDisk, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return cluster.FoundDisk{}, err
	}
	in, err := disk.InspectFile(path)
	switch {
	case errors.Is(err, disk.ErrNoStore):
		return cluster.FoundDisk{}, problem(BadDisk, "%s is no disk of a cluster", path)
	case err != nil:
		return cluster.FoundDisk{}, diskProblem(path, err)
	}
	f := cluster.FoundDisk{Path: path, ID: cluster.DiskID(hex.EncodeToString(in.Disk[:])), Cluster: hex.EncodeToString(in.Cluster[:]),
		Label: in.Label, Decayed: in.LabelErr != nil, Promises: in.Promises, InUse: in.InUse}
	if in.Err != nil {
		f.Problem = in.Err.Error()
	}
	for _, r := range in.Replicas {
		f.Copies = append(f.Copies, cluster.FoundCopy{Volume: r.Volume, Segment: r.Segment, Commit: r.Commit, Highest: r.Highest, Lost: r.Lost, Damaged: r.Damaged})
	}
	return f, nil
}

// AdoptOrder says of what a cluster is to be formed.
type AdoptOrder struct {
	Disks      []string // paths of this node's
	Reports    []string // paths of files, each with what `ashlar disk inspect -o json` printed on another node
	Confirm    string   // the cluster's name
	AcceptLoss bool
}

// Adoption is what would come of it.
type Adoption struct {
	*cluster.Adoption
	Node wire.NodeID // who this node is in that cluster
}

// reportMax bounds the file of a report, bytes: 16 MiB of label for each of some disks.
const reportMax = 1 << 30

func (o AdoptOrder) find() (own, all []cluster.FoundDisk, err error) {
	for _, path := range o.Disks {
		f, err := InspectDisk(path)
		if err == nil && f.InUse {
			err = problem(InUse, "%s is in use: another process has it open", path).next("stop that process first: a disk that is written to tells nothing")
		}
		if err != nil {
			return nil, nil, err
		}
		own = append(own, f)
	}
	all = slices.Clone(own)
	for _, path := range o.Reports {
		found, err := readReport(path)
		if err != nil {
			return nil, nil, err
		}
		for _, f := range found {
			if f.InUse {
				return nil, nil, problem(InUse, "%s in %s was in use when it was looked at", f.Path, path).next("stop the node there, and inspect its disks again")
			}
			all = append(all, f)
		}
	}
	if len(own) == 0 {
		return nil, nil, problem(cluster.Invalid, "no disk of this node is given").next("ashlar cluster adopt PATH... --from REPORT, on a node that has a disk")
	}
	return own, all, nil
}

func readReport(path string) (found []cluster.FoundDisk, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, problem(cluster.NotFound, "%v", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, reportMax))
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	bad := slices.ContainsFunc(found, func(d cluster.FoundDisk) bool { return d.ID == "" || d.Cluster == "" })
	if err != nil || bad || len(found) == 0 {
		return nil, problem(cluster.Invalid, "%s is no report about disks", path).next("on the node that has them: ashlar disk inspect PATH... -o json > FILE")
	}
	return found, nil
}

// PlanAdopt says what would come of a cluster's disks, of which all else is lost. It changes nothing.
func (n *Node) PlanAdopt(o AdoptOrder) (*Adoption, error) {
	n.orders.Lock()
	defer n.orders.Unlock()
	return n.planAdopt(o)
}

func (n *Node) planAdopt(o AdoptOrder) (*Adoption, error) {
	if s := n.service.Load(); s != nil && s.knowsNothing() {
		return nil, problem(InCluster, "this node belongs to cluster %q, and has lost what it knew of it", s.record.ClusterName).
			next("ashlar cluster reset --confirm %s has it forget that, then adopt", s.record.ClusterName)
	}
	if err := n.mustBeAlone(""); err != nil {
		return nil, err
	}
	if n.config.Witness {
		return nil, problem(cluster.Refused, "a witness holds no disks, so no cluster can be formed of it").next("adopt on a node with disks")
	}
	own, all, err := o.find()
	if err != nil {
		return nil, err
	}
	found, r := cluster.Adopt(all)
	if r.Problem != "" {
		return nil, problem(r.Code, "%s", r.Problem)
	}
	self, err := n.ownerOf(own, found.State)
	if err != nil {
		return nil, err
	}
	if err := nobodyLives(found.State, self); err != nil {
		return nil, err
	}
	return &Adoption{found, self}, nil
}

// ownerOf is the node whose disks these are, which must be this one.
func (n *Node) ownerOf(own []cluster.FoundDisk, s *cluster.State) (self wire.NodeID, err error) {
	for _, f := range own {
		d := s.Disks[f.ID]
		switch {
		case d == nil || s.Nodes[d.Node].Expelled:
			return 0, problem(BadDisk, "%s is no disk of cluster %q any more", f.Path, s.Name).next("leave it out")
		case s.Nodes[d.Node].Name != n.config.Name:
			return 0, problem(cluster.Refused, "%s is a disk of node %q, and this node is %q", f.Path, s.Nodes[d.Node].Name, n.config.Name).
				next("adopt on that node; if this server takes its place, start it with --name %s", s.Nodes[d.Node].Name)
		}
		self = d.Node
	}
	return self, nil
}

// nobodyLives refuses while another node of the cluster answers: it may know more than the disks.
func nobodyLives(s *cluster.State, self wire.NodeID) error {
	var mu sync.Mutex
	var living []string
	var asked sync.WaitGroup
	for id, node := range s.Nodes {
		if id == self || node.Expelled {
			continue
		}
		asked.Go(func() {
			c, err := net.DialTimeout("tcp", node.Peer, 2*time.Second)
			if err != nil {
				return
			}
			c.Close()
			mu.Lock()
			defer mu.Unlock()
			living = append(living, fmt.Sprintf("%s (%s)", node.Name, node.Peer))
		})
	}
	asked.Wait()
	if len(living) == 0 {
		return nil
	}
	slices.Sort(living)
	return problem(cluster.Refused, "nodes of cluster %q run: %s. Where one of them still knows what was agreed on, nothing is lost", s.Name, strings.Join(living, ", ")).
		next("bring a majority of the voters back; a node that has lost its raft folder too is reset there: ashlar cluster reset --confirm %s", s.Name)
}

// Adopt forms the cluster anew, with this node as its first. The others join it under their names.
func (n *Node) Adopt(ctx context.Context, o AdoptOrder) (*Adoption, error) {
	n.orders.Lock()
	defer n.orders.Unlock()
	a, err := n.planAdopt(o)
	if err == nil {
		err = a.accepted(o)
	}
	if err == nil {
		err = n.config.portsAreFree()
	}
	if err != nil {
		return nil, err
	}
	s, err := n.foundOf(a)
	if err != nil {
		return nil, errors.Join(err, n.folder.clear())
	}
	n.service.Store(s)
	return a, s.settle(ctx)
}

func (a *Adoption) accepted(o AdoptOrder) error {
	switch {
	case o.Confirm != a.State.Name:
		return problem(cluster.Refused, "an adoption has to be confirmed with the cluster's name, which is %q, not %q", a.State.Name, o.Confirm)
	case a.Loses() && !o.AcceptLoss:
		return problem(cluster.Refused, "what was acknowledged to hosts may be lost: not all disks of cluster %q are here", a.State.Name).
			next("add the other disks (--from); if they are lost for ever, add --accept-loss")
	}
	return nil
}

// foundOf writes the folder of the node that forms the cluster, and starts its service. node.json comes last.
func (n *Node) foundOf(a *Adoption) (*service, error) {
	drawn, token, err := drawSecrets(a.State.ID)
	if err != nil {
		return nil, err
	}
	drawn.Lineage = randomHex(16)
	drawn.Draw = func(bytes int) []byte {
		b := make([]byte, bytes)
		rand.Read(b)
		return b
	}
	if err := n.issueOwn(drawn.Authority, a.Node, token); err != nil {
		return nil, err
	}
	next := a.Form(a.Node, drawn)
	if err := consensus.Reform(n.folder.raft(), a.Node, func(*cluster.State) *cluster.State { return next }); err != nil {
		return nil, err
	}
	r := record{Cluster: next.ID, ClusterName: next.Name, Node: a.Node, Name: next.Nodes[a.Node].Name, Lineage: next.Lineage}
	s, err := n.newService(r, nil)
	if err != nil {
		return nil, err
	}
	if err := n.folder.keep(r); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.start()
	return s, nil
}
