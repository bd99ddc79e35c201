package member

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"ashlar/replication/wire"
)

const patience = 20 * time.Second

func agent(t *testing.T, id wire.NodeID, key byte, cluster string) *Agent {
	t.Helper()
	a, err := Start(Config{Node: id, Name: fmt.Sprintf("node-%d", id), Cluster: cluster, Key: bytes.Repeat([]byte{key}, 32),
		Listen: freeAddress(t, fmt.Sprintf("127.0.0.%d", id)), Tags: map[string]string{"rack": "a"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown() })
	return a
}

// freeAddress is free for TCP, and so in all likelihood for UDP.
func freeAddress(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func await(t *testing.T, a *Agent, kind Kind, id wire.NodeID) Member {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e := <-a.Events():
			if e.Kind == kind && e.Member.Node == id {
				return e.Member
			}
		case <-deadline:
			t.Fatalf("node %d never heard that node %d %v", a.config.Node, id, kind)
		}
	}
}

func TestThreeAgentsHearOfEachOther(t *testing.T) {
	one, two, three := agent(t, 1, 1, "c"), agent(t, 2, 1, "c"), agent(t, 3, 1, "c")
	if err := two.Join([]string{one.Address()}); err != nil {
		t.Fatal(err)
	}
	if err := three.Join([]string{"127.0.0.9:1", two.Address()}); err != nil {
		t.Fatal(err)
	}
	m := await(t, one, Joined, 3) // through two
	if m.Name != "node-3" || m.Address != three.Address() || m.Tags["rack"] != "a" || len(m.Tags) != 1 || !m.Alive {
		t.Errorf("%+v", m)
	}
	if err := three.SetTags(map[string]string{"rack": "b"}); err != nil {
		t.Fatal(err)
	}
	if m := await(t, one, Changed, 3); m.Tags["rack"] != "b" || m.Name != "node-3" {
		t.Errorf("%+v", m)
	}
	if members := one.Members(); len(members) != 3 || members[1].Node != 2 {
		t.Errorf("%+v", members)
	}
	if err := three.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := three.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if m := await(t, one, Left, 3); m.Alive {
		t.Errorf("%+v", m)
	}
	two.Shutdown()
	await(t, one, Failed, 2)
	for range two.Events() { // ends
	}
}

func TestStrangersAreNotLetIn(t *testing.T) {
	one := agent(t, 1, 1, "c")
	otherKey, otherCluster := agent(t, 2, 2, "c"), agent(t, 3, 1, "d")
	for _, stranger := range []*Agent{otherKey, otherCluster} {
		if err := stranger.Join([]string{one.Address()}); err == nil {
			t.Errorf("node %d joined", stranger.config.Node)
		}
		if members := stranger.Members(); len(members) != 1 {
			t.Errorf("node %d knows %+v", stranger.config.Node, members)
		}
	}
	if members := one.Members(); len(members) != 1 {
		t.Errorf("%+v", members)
	}
	if _, err := Start(Config{Node: 4, Listen: "127.0.0.4:0", Key: []byte("short")}); err == nil {
		t.Error("gossip in the clear")
	}
}
