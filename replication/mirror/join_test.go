package mirror

import (
	"testing"

	"ashlar/replication/wire"
)

// What the destination does not take, or no source can give, is not counted as copied.
func TestACopyDoesNotCountBeforeItsChecksumsWereRight(t *testing.T) {
	for _, where := range []string{"source", "destination"} {
		c := newCluster(t, Bugs{})
		c.agree(in(1), outside(3))
		lag(c)
		bad := true
		c.corrupt = func(to wire.NodeID, m wire.Message) wire.Message {
			switch m := m.(type) {
			case *wire.Read:
				if bad && where == "source" && m.Block <= 100 && 100 < m.Block+m.Count {
					return &wire.Blocks{Req: m.Req, Status: wire.Corrupt, Bad: []uint32{100}, Data: make([]byte, m.Count*wire.BlockSize),
						CRC: make([]uint32, m.Count), Versions: make([]wire.Version, m.Count)}
				}
			case *wire.Write:
				if bad && where == "destination" && m.Versions != nil && m.Block <= 100 && 100 < m.Block+m.Count {
					return &wire.Ack{Req: m.Req, Status: wire.Corrupt}
				}
			}
			return nil
		}
		if c.pass(3 * Second); len(c.caught) != 0 {
			t.Errorf("%s: %+v", where, c.caught)
		}
		bad = false
		if c.pass(5 * Second); len(c.caught) == 0 {
			t.Errorf("%s: a copy that can be made is not", where)
		}
	}
}
