package node

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ashlar/node/cluster"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

// labelled waits until the label of a node's disk tells of the present state.
func labelled(t *testing.T, n *Node) {
	t.Helper()
	s := n.service.Load()
	eventually(t, "the labels tell of the present state", func() bool {
		s.disks.mu.Lock()
		defer s.disks.mu.Unlock()
		for _, store := range s.disks.open {
			text, err := store.Label()
			l, e := cluster.ParseLabel(text)
			if err != nil || e != nil || l.Index != s.consensus.State().Index {
				return false
			}
		}
		return len(s.disks.open) > 0
	})
}

// lose ends a node, and leaves nothing of it but its disks.
func lose(t *testing.T, n *Node) {
	t.Helper()
	labelled(t, n)
	must(t, n.Close())
	must(t, os.RemoveAll(n.Config().Dir))
}

func pathOf(t *testing.T, n *Node) (path string) {
	t.Helper()
	for _, d := range state(t, n).Disks {
		path = d.Path
	}
	return path
}

// refused expects a problem of a code that says something.
func refused(t *testing.T, what string, err error, code cluster.Code, says string) {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) || p.Code != code || !strings.Contains(p.Text+p.Next, says) {
		t.Errorf("%s: %v, want %s: %s", what, err, code, says)
	}
}

// A node of which nothing is left but its disk forms the cluster anew: hosts find what they wrote under the same
// names, and one whose secret is lost is kept out until it is set again.
func TestAClusterIsAdoptedFromItsDiskAlone(t *testing.T) {
	t.Parallel()
	n, iqn := published(t, false)
	s, err := login(t, n, "web", iqn)
	must(t, err)
	ready(t, s)
	data, got := slices.Repeat([]byte("what a host wrote"), 4096)[:64<<10], make([]byte, 64<<10)
	must(t, s.Write(limit(t), 0, segmentBytes/512-64, data, 512))
	must(t, n.AddHost(limit(t), "safe", "iqn.2026-11.com.example:safe"))
	secret := cluster.Secret("initiator secret")
	must(t, n.SetCHAP(limit(t), "safe", cluster.CHAP{Secret: secret}))
	must(t, n.Publish(limit(t), "db", "safe", false))
	path, before := pathOf(t, n), state(t, n)
	_, err = n.PlanAdopt(AdoptOrder{Disks: []string{path}})
	refused(t, "while the cluster works", err, InCluster, "already in cluster")
	config := n.Config()
	lose(t, n)

	other := config
	other.Name, other.Dir = "node2", t.TempDir()
	_, err = open(t, other).PlanAdopt(AdoptOrder{Disks: []string{path}})
	refused(t, "by another node", err, cluster.Refused, `disk of node "node1"`)
	n = open(t, config)
	order := AdoptOrder{Disks: []string{path}}
	plan, err := n.PlanAdopt(order)
	must(t, err)
	if plan.Node != 1 || plan.Loses() || len(plan.Volumes) != 2 || !slices.Equal(plan.Locked, []string{"safe"}) {
		t.Errorf("the plan: %+v", plan)
	}
	if _, in := n.Self(); in {
		t.Fatal("a plan was carried out")
	}
	_, err = n.Adopt(limit(t), order)
	refused(t, "unconfirmed", err, cluster.Refused, `"test"`)
	order.Confirm = "test"
	order.Disks = append(order.Disks, filepath.Join(t.TempDir(), "none"))
	_, err = n.Adopt(limit(t), order)
	refused(t, "with a disk that there is not", err, BadDisk, "no such file")
	order.Disks = order.Disks[:1]
	_, err = n.Adopt(limit(t), order)
	must(t, err)
	eventually(t, "the node is ready", n.Ready)

	after := state(t, n)
	if after.ID != before.ID || after.Lineage == before.Lineage || after.Index <= before.Index || len(after.Authority.Key) == 0 ||
		string(after.Secret) == string(before.Secret) || after.Nodes[1].Incarnation <= before.Nodes[1].Incarnation {
		t.Errorf("the cluster was\n%+v\nand is\n%+v", before, after)
	}
	s, err = login(t, n, "web", iqn)
	must(t, err)
	ready(t, s)
	must(t, s.Read(limit(t), 0, segmentBytes/512-64, got, 512))
	if !slices.Equal(got, data) {
		t.Error("the data differs")
	}
	dial := func(chap *initiator.CHAP) error {
		s, err := initiator.Dial(limit(t), n.Config().PortalTexts()[0], iqn, initiator.Options{Name: "iqn.2026-11.com.example:safe", CHAP: chap})
		if err == nil {
			s.Close()
		}
		return err
	}
	chap := &initiator.CHAP{User: "safe", Secret: secret}
	for what, c := range map[string]*initiator.CHAP{"its old secret": chap, "nothing": nil, "an empty secret": {User: "safe", Secret: []byte{}}} {
		var no *initiator.LoginError
		if err := dial(c); !errors.As(err, &no) || no.Status != uint16(session.LoginAuthentication) {
			t.Errorf("a host whose secret is lost, with %s: %v", what, err)
		}
	}
	must(t, n.SetCHAP(limit(t), "safe", cluster.CHAP{Secret: secret}))
	must(t, dial(chap))

	// And once more: the new lineage is what its disk tells of.
	lineage := after.Lineage
	lose(t, n)
	config.Dir = t.TempDir()
	n = open(t, config)
	a, err := n.Adopt(limit(t), order)
	must(t, err)
	if f := state(t, n).Forebears; a.State.Lineage != lineage || len(f) != 2 || f[1].Lineage != lineage {
		t.Errorf("adopted of lineage %q, forebears %+v", a.State.Lineage, f)
	}
}

// A node whose raft folder alone is lost is told what to do, and forgets the rest when it is told to.
func TestANodeThatLostWhatItKnewIsResetAndAdopts(t *testing.T) {
	t.Parallel()
	n, _ := published(t, false)
	path := pathOf(t, n)
	refused(t, "a reset while the cluster works", n.Reset(limit(t), "test"), cluster.Refused, "lost what it knew")
	labelled(t, n)
	must(t, n.Close())
	must(t, os.RemoveAll(n.folder.raft()))
	n = open(t, n.Config())
	_, err := n.State()
	refused(t, "its state", err, NotReady, "ashlar cluster adopt")
	_, err = n.PlanAdopt(AdoptOrder{Disks: []string{path}})
	refused(t, "before the reset", err, InCluster, "ashlar cluster reset --confirm test")
	must(t, n.Reset(limit(t), "test"))
	_, err = n.Adopt(limit(t), AdoptOrder{Disks: []string{path}, Confirm: "test"})
	must(t, err)
	eventually(t, "the node is ready", n.Ready)
}

// An image of a disk from before it was opened last is never taken, whoever looks: not by the cluster, which loses
// its copies to it, and not by an adoption, which asks for the loss to be accepted.
func TestAnOldImageOfADiskIsNeverTaken(t *testing.T) {
	t.Parallel()
	n := newCluster(t)
	paths := []string{filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "disk")}
	for _, path := range paths {
		_, err := n.AddDisk(limit(t), path, 64<<20, false)
		must(t, err)
	}
	createVolume(t, n, "db", 8<<20, 1)
	labelled(t, n)
	must(t, n.Close())
	image, err := os.ReadFile(paths[0])
	must(t, err)
	n = open(t, n.Config())
	eventually(t, "the disks are open", func() bool { return len(n.MissingDisks()) == 0 && n.Ready() && opened(n) == 2 })
	labelled(t, n)
	must(t, n.Close())
	latest, err := os.ReadFile(paths[0])
	must(t, err)

	must(t, os.WriteFile(paths[0], image, 0o600))
	// A disk whose copies are not taken may not be the only one there is of something: that waits, and is not made up.
	config := n.Config()
	config.Dir = t.TempDir()
	alone := open(t, config)
	order := AdoptOrder{Disks: paths, Confirm: "test"}
	plan, err := alone.PlanAdopt(order)
	must(t, err)
	if i := slices.IndexFunc(plan.Disks, func(d cluster.AdoptedDisk) bool { return d.Path == paths[0] }); plan.Disks[i].Fate != cluster.DiskDiverged || !plan.Loses() {
		t.Errorf("the plan: %+v", plan)
	}
	_, err = alone.Adopt(limit(t), order)
	refused(t, "with an old image", err, cluster.Refused, "--accept-loss")
	must(t, alone.Close())

	n = open(t, n.Config())
	var id cluster.DiskID
	eventually(t, "the old image is out for ever", func() bool {
		s, err := n.State()
		if err != nil {
			return false // it has not heard from itself yet
		}
		id = diskAt(s, paths[0])
		return s.Disks[id].Failed
	})
	eventually(t, "it is said why", func() bool { return errors.Is(n.MissingDisks()[id], errDiverged) })
	must(t, n.Close())

	must(t, os.WriteFile(paths[0], latest, 0o600))
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, os.WriteFile(copied, latest, 0o600))
	config.Dir = t.TempDir()
	alone = open(t, config)
	_, err = alone.PlanAdopt(AdoptOrder{Disks: append([]string{copied}, paths...)})
	refused(t, "a disk and its copy", err, cluster.Refused, "copy of the other")
}

func opened(n *Node) int {
	d := n.service.Load().disks
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

func diskAt(s *cluster.State, path string) cluster.DiskID {
	for id, d := range s.Disks {
		if d.Path == path {
			return id
		}
	}
	panic("no disk at " + path)
}

func TestReportsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	n := open(t, newConfig(t, "node1"))
	none := filepath.Join(t.TempDir(), "none")
	_, err := n.PlanAdopt(AdoptOrder{})
	refused(t, "no disks", err, cluster.Invalid, "no disk")
	blank := filepath.Join(t.TempDir(), "blank")
	must(t, os.WriteFile(blank, make([]byte, 64<<20), 0o600))
	_, err = n.PlanAdopt(AdoptOrder{Disks: []string{blank}})
	refused(t, "a blank file", err, BadDisk, "no disk of a cluster")

	c, _ := published(t, false)
	path := pathOf(t, c)
	_, err = n.PlanAdopt(AdoptOrder{Disks: []string{path}})
	refused(t, "a disk that a node has open", err, InUse, "another process")
	report := func(v any) string {
		path := filepath.Join(t.TempDir(), "report")
		text, err := json.Marshal(v)
		must(t, err)
		must(t, os.WriteFile(path, text, 0o600))
		return path
	}
	found, err := InspectDisk(path)
	must(t, err)
	if !found.InUse || found.Copies != nil {
		t.Errorf("of a disk in use: %+v", found)
	}
	inUse := report([]cluster.FoundDisk{found})
	labelled(t, c)
	must(t, c.Close())
	for file, says := range map[string]string{none: "no such file", report("x"): "no report", report([]int{}): "no report", report([]cluster.FoundDisk{{}}): "no report", inUse: "was in use"} {
		_, err := n.PlanAdopt(AdoptOrder{Disks: []string{path}, Reports: []string{file}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", file, err, says)
		}
	}
}
