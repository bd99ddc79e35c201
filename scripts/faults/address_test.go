//go:build faults

package faults

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
	"ashlar/target/targettest/initiator"
)

const (
	movingIP     = "10.1.0.101"
	movingPortal = movingIP + ":3260"

	// movedMax is what a host with one path may wait: a lease, a fence, the lifetime
	// that a frozen node's kernel gives an address, three probes, and a login; twice
	// as long, for a machine that is busy.
	movedMax = 14 * time.Second
)

// moving is a cluster on a link of its own, with a portal address that moves and
// a host that knows no other.
type moving struct {
	*testing.T
	c    *clusters.Cluster
	v    api.Volume
	load *clusters.Load
	tag  string // portal group tag
}

func (m *moving) address() api.Address {
	for _, n := range m.c.Nodes {
		var all []api.Address
		if r := n.Run("address", "list", "-o", "json"); r.Code == 0 && json.Unmarshal([]byte(r.Stdout), &all) == nil && len(all) == 1 {
			return all[0]
		}
	}
	return api.Address{}
}

// holder is the node that serves the address, once one does that is not the node named.
func (m *moving) holder(not string) *clusters.Node {
	m.Helper()
	var name string
	m.c.Eventually(20*time.Second, "a node holds the address", func() bool {
		a := m.address()
		name = a.Holder
		return a.State == "held" && name != not
	})
	return m.c.Node(name)
}

// log in tells the tag of the port that a host finds at the address.
func (m *moving) foundTag() string {
	m.Helper()
	tag := ""
	m.c.Eventually(movedMax, "a host finds the portal", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s, err := initiator.Dial(ctx, movingPortal, m.v.IQN, initiator.Options{Name: clusters.HostIQN, ISID: [6]byte{0x00, 0x02, 0x3d, 0, 8, 1}})
		if err != nil {
			return false
		}
		defer s.Close()
		tag = s.Params.PortalGroup
		return true
	})
	return tag
}

// moves has something happen to the node that holds the address, and the host go
// on at another one, where it finds the same port.
func (m *moving) moves(what string, happen func(holder *clusters.Node)) {
	m.Helper()
	from := m.holder("")
	m.load.Longest()
	happen(from)
	m.load.AwaitWrites(100, movedMax+time.Second)
	to := m.holder(from.Name)
	if tag := m.foundTag(); tag != m.tag {
		m.Errorf("%s: the portal group tag is %s, before it was %s", what, tag, m.tag)
	}
	longest := m.load.Longest()
	m.Logf("%s: from %s to %s, longest write of a host with one path %v", what, from.Name, to.Name, longest)
	if longest > movedMax {
		m.Errorf("%s: a write took %v", what, longest)
	}
}

// watchInterfaces looks until stop is called for two kernels that have the address
// at one time.
func (m *moving) watchInterfaces() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			var have []string
			for _, n := range m.c.Nodes {
				out, _ := fabric.Command(n.Number, "ip", "-o", "address", "show", "to", movingIP).Output()
				if strings.Contains(string(out), movingIP) {
					have = append(have, n.Name)
				}
			}
			if len(have) > 1 {
				m.Errorf("%v have the address", have)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		looking.Wait()
	}
}

var makeFabric = sync.OnceValue(fabric.Make)

// onFabric gives three machines networks of their own, from number k on.
func onFabric(t *testing.T, k int) {
	t.Helper()
	err := makeFabric()
	for i := range 3 {
		if err == nil {
			err = fabric.AddNode(k + i)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAHostWithOnePathOutlivesTheNodeOfItsPortal(t *testing.T) {
	onFabric(t, 1)
	c := clusters.New(t, clusters.Plan{Inside: fabric.Command, Addresses: func(k int) []string { return []string{"10.1.0." + string(rune('0'+k))} }})
	m := &moving{T: t, c: c, v: c.Publish("v", "16M", 2)}
	first := c.Nodes[0]
	for words, wrong := range map[string]string{
		"address add 10.1.0.102":              "length of its subnet",
		"address add 10.1.0.0/24":             "subnet's own address",
		"address add 10.1.0.2/24":             "node \"n2\"'s own",
		"address add 10.1.0.102/24 --home n9": "no node \"n9\"",
		"address remove 10.1.0.102":           "no address",
	} {
		if r := first.Run(strings.Fields(words)...); r.Code == 0 || !strings.Contains(r.Stderr, wrong) {
			t.Errorf("ashlar %s: status %d, %s", words, r.Code, r.Stderr)
		}
	}
	first.Must("address", "add", movingIP+"/24", "--home", "n1")
	if home := m.holder(""); home != first {
		t.Fatalf("%s holds the address, not its home", home.Name)
	}
	m.tag = m.foundTag()
	m.load = clusters.NewLoadAt(t, m.v.IQN, volumeBytes, movingPortal)
	m.load.Start()
	m.load.AwaitWrites(100, 30*time.Second)
	stop := m.watchInterfaces()
	whole := func() {
		for _, n := range c.Nodes {
			n.AwaitReady()
		}
		c.AwaitInSync("v", time.Minute)
		time.Sleep(3 * time.Second) // nodes tell each other once a second who is connected to them
	}
	m.moves("process killed", (*clusters.Node).Kill)
	restartDead(c)
	whole()
	m.moves("process frozen", func(n *clusters.Node) {
		n.Freeze()
		time.AfterFunc(9*time.Second, n.Thaw)
	})
	time.Sleep(10 * time.Second) // the frozen one has gone on by then, as another incarnation
	whole()
	m.moves("node cut off", func(n *clusters.Node) {
		if err := fabric.Cut([]string{n.Name}, []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(9*time.Second, func() { fabric.Heal([]string{n.Name}, []string{"a", "b"}) })
	})
	time.Sleep(10 * time.Second)
	whole()
	m.moves("process told to stop", (*clusters.Node).Stop)
	restartDead(c)
	whole()
	drained := m.holder("")
	m.moves("node drained", func(n *clusters.Node) {
		other := c.Nodes[0]
		if other == n {
			other = c.Nodes[1]
		}
		go other.Run("node", "drain", n.Name)
	})
	drained.Must("node", "undrain", drained.Name)
	stop()
	m.load.Stop(30 * time.Second)
	m.load.ExpectAll()
	c.AwaitInSync("v", time.Minute)
	c.Verify("v")
	first.Must("address", "remove", movingIP)
	c.Eventually(10*time.Second, "the address is forgotten", func() bool {
		return len(clusters.Document[[]api.Address](first, "address", "list")) == 0
	})
}

// restartDead starts the nodes whose processes have ended.
func restartDead(c *clusters.Cluster) {
	for _, n := range c.Nodes {
		if !n.Runs() {
			n.Start()
		}
	}
}
