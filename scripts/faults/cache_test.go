//go:build faults

package faults

import (
	"errors"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// synchronizeCache is SYNCHRONIZE CACHE(10) of the whole unit (SBC-3 5.19).
func synchronizeCache() *initiator.Command {
	return &initiator.Command{CDB: []byte{0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
}

// One node's memory is not the only one.
func TestAWriteCacheOutlivesANode(t *testing.T) {
	c := clusters.New(t, clusters.Plan{})
	v := c.PublishCached("v", "48M", 2)
	load := clusters.NewLoad(t, v.IQN, 48<<20, c.Nodes...)
	load.Start()
	for range 2 {
		load.AwaitWrites(300, time.Minute)
		n := c.Head("v")
		n.Kill()
		load.AwaitWrites(100, time.Minute)
		n.Start()
		c.AwaitInSync("v", time.Minute)
	}
	load.Stop(time.Minute)
	load.ExpectAll()
	c.Verify("v")
	if d, _ := c.Show("v"); !d.WriteCache || d.Losses != 0 {
		t.Errorf("write cache %v, losses: %d", d.WriteCache, d.Losses)
	}
}

// Both memories are lost at once. Hosts that were there then are told so with each FLUSH, others are not.
func TestALostWriteCacheIsToldOf(t *testing.T) {
	c := clusters.New(t, clusters.Plan{Nodes: 5})
	v := c.PublishCached("v", "16M", 2)
	holders := map[string]bool{}
	for _, name := range replicas(c, func(api.Replica) bool { return true }) {
		holders[name] = true
	}
	var dying []*clusters.Node
	var portal *clusters.Node
	for _, n := range c.Nodes {
		if holders[n.Name] {
			dying = append(dying, n)
		} else {
			portal = n
		}
	}
	h := newHost(t, portal, v.IQN, clusters.HostIQN, 1)
	caching := &initiator.Command{CDB: []byte{0x1A, 0, 0x08, 0, 64, 0}, In: make([]byte, 64)} // MODE SENSE(6), SPC-4 6.13
	h.must(t, caching)
	if page := caching.In[4+caching.In[3]:]; page[0]&0x3F != 0x08 || page[2]&0x04 == 0 {
		t.Fatalf("the caching page is % x, and WCE is not set", page[:20])
	}
	s := span{0, 8}
	h.must(t, s.write(1))
	h.must(t, synchronizeCache())
	h.must(t, s.write(2))
	session := h.session
	for _, n := range dying {
		n.Kill()
	}
	for _, n := range dying {
		n.Start()
	}
	c.AwaitInSync("v", time.Minute)
	for range 2 {
		err := h.do(t.Context(), synchronizeCache())
		var x *initiator.StatusError
		if !errors.As(err, &x) || x.Status != statusCheck || x.Key != keyMedium {
			t.Errorf("FLUSH after the loss: %v", err)
		}
	}
	if h.session != session {
		t.Fatal("the host's session did not outlive the copies: it was told nothing")
	}
	newcomer := newHost(t, portal, v.IQN, clusters.HostIQN, 2)
	newcomer.must(t, s.write(3))
	newcomer.must(t, synchronizeCache())
	if d, _ := c.Show("v"); d.Losses == 0 {
		t.Error("no loss is shown")
	}
	c.Verify("v")
}
