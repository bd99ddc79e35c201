package node

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// TestAWriteCacheIsNotOrderedOverReleasesThatDoNotKnowIt: an older node says no format at all, or a lower one.
func TestAWriteCacheIsNotOrderedOverReleasesThatDoNotKnowIt(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	older := nodes[2].service.Load().engine.Load()
	older.Answer("format", func(wire.NodeID, json.RawMessage) any { return cluster.CommonVersion })
	volume := cluster.CreateVolume{Name: "db", Bytes: 4 << 20, Copies: 2, WriteCache: true}
	var p *Problem
	if err := nodes[0].CreateVolume(limit(t), volume); !errors.As(err, &p) || p.Code != cluster.Refused || !strings.Contains(err.Error(), `"node3"`) {
		t.Fatalf("one of three nodes is older: %v", err)
	}
	alone := volume
	alone.Copies = 1
	if err := nodes[0].CreateVolume(limit(t), alone); !errors.As(err, &p) || p.Code != cluster.Invalid || !strings.Contains(err.Error(), "2 copies or more") {
		t.Errorf("an order that is wrong in itself, while a node is older: %v", err)
	}
	createVolume(t, nodes[0], "plain", 4<<20, 2)
	if v := state(t, nodes[0]).Version; v != cluster.CommonVersion {
		t.Errorf("the state has version %d, and there is nothing newer", v)
	}
	older.Answer("format", func(wire.NodeID, json.RawMessage) any { return cluster.FormatVersion })
	patiently(t, func() error { return nodes[0].CreateVolume(limit(t), volume) })
	v := state(t, nodes[0]).VolumeNamed("db")
	eventually(t, "the volume is open", func() bool { return nodes[1].service.Load().engine.Load().Device(v.ID) != nil })
	if !nodes[1].service.Load().engine.Load().Device(v.ID).Info().WriteCache {
		t.Error("hosts are not told of the write cache")
	}
}
