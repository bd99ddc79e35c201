package node

import (
	"errors"
	"testing"

	"ashlar/node/cluster"
	"ashlar/target/targettest/nvmehost"
)

// TestAHostIsDisconnectedWithBothProtocols at one node of two, or at all of them; it may come back.
func TestAHostIsDisconnectedWithBothProtocols(t *testing.T) {
	t.Parallel()
	nodes := nvmeThree(t)
	first, second := nodes[0], nodes[1]
	s := state(t, first)
	iqn, nqn := s.IQN(s.VolumeNamed("db")), s.NQN(s.VolumeNamed("db"))
	eventually(t, "both serve", func() bool { return first.Ready() && second.Ready() })
	enter := func(n *Node) {
		t.Helper()
		eventually(t, "a session", func() bool { _, err := login(t, n, "web", iqn); return err == nil })
		mustConnect(t, n, nqn, nvmehost.Options{})
	}
	enter(first)
	enter(second)

	part := func(volume, at string, sessions, left int) {
		t.Helper()
		got, err := nodes[2].Disconnect(limit(t), "web", volume, at)
		must(t, err)
		sum := 0
		for _, p := range got {
			if p.Silent {
				t.Errorf("node %d did not answer", p.Node)
			}
			sum += p.Sessions
		}
		if sum != sessions {
			t.Errorf("%d sessions were ended, not %d: %+v", sum, sessions, got)
		}
		eventually(t, "they have ended", func() bool {
			return len(first.service.Load().drain.here())+len(second.service.Load().drain.here()) == left
		})
	}
	part("", "node2", 2, 2)
	if sessions(first) != 2 {
		t.Errorf("at the other node: %d", sessions(first))
	}
	enter(second) // it may
	part("db", "", 4, 0)
	part("", "", 0, 0)

	for _, x := range []struct{ host, volume, node string }{{"wbe", "", ""}, {"web", "dbb", ""}, {"web", "", "node9"}} {
		if _, err := first.Disconnect(limit(t), x.host, x.volume, x.node); !isProblem(err, cluster.NotFound) {
			t.Errorf("%+v: %v", x, err)
		}
	}
	must(t, first.Withdraw(limit(t), "db", "web"))
	must(t, first.PublishAs(limit(t), "db", "web", 5, false))
	if _, err := first.Disconnect(limit(t), "web", "db", ""); !isProblem(err, cluster.Refused) {
		t.Errorf("of a session with other volumes: %v", err)
	}
}

func isProblem(err error, code cluster.Code) bool {
	var p *Problem
	return errors.As(err, &p) && p.Code == code
}
