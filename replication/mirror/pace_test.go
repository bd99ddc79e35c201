package mirror

import (
	"bytes"
	"testing"

	"ashlar/replication/wire"
)

// lag has node 3's copy leave the set and lack every block of 1 MiB.
func lag(c *cluster) *node { return lagOf(c, 256, 1) }

// lagOf has it lack every so-manieth of so many blocks.
func lagOf(c *cluster, blocks, every uint32) *node {
	x := c.nodes[3]
	for b := uint32(0); b < blocks; b += every {
		for n := wire.NodeID(1); n <= 2; n++ {
			c.nodes[n].blocks[b] = stored{bytes.Repeat([]byte{'x'}, wire.BlockSize), wire.Version{Epoch: 1, Seq: uint64(b) + 1}}
		}
	}
	return x
}

func TestACopyCatchesUpNoFasterThanItMayAndInTheEnd(t *testing.T) {
	const rate = 256 << 10
	c := newCluster(t, Bugs{})
	c.agree(in(1), in(2), outside(3))
	x := lag(c)
	c.h.Pace(rate)
	for n := int64(1); n <= 8; n++ {
		c.pass(500 * Millisecond)
		copied, due := float64(len(x.blocks))*wire.BlockSize, float64(rate*n)/2
		if ahead := copied - due; ahead > float64(rate)*float64(paceBurst)/float64(Second)+runBlocks*wire.BlockSize {
			t.Errorf("after %d ms %.0f KiB are copied: %.0f too many", 500*n, copied/1024, ahead/1024)
		}
		if copied < min(due, 256*wire.BlockSize)*0.9 {
			t.Errorf("after %d ms %.0f KiB are copied", 500*n, copied/1024)
		}
	}
	if len(x.blocks) != 256 {
		t.Errorf("%d blocks of 256 are there in the end", len(x.blocks))
	}
	// As fast as it goes again.
	c.agree(in(1), in(2))
	c.agree(in(1), in(2), outside(3))
	clear(x.blocks)
	c.h.Pace(0)
	if c.pass(200 * Millisecond); len(x.blocks) != 256 {
		t.Errorf("without a limit %d blocks are copied at once", len(x.blocks))
	}
}

func TestHostsDoNotWaitForTheAllowanceOfCopying(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.agree(in(1), in(2), outside(3))
	lag(c)
	c.h.Pace(1)
	c.pass(300 * Millisecond)
	c.write(2, "h", 8*255, 'w').is(wire.OK) // of a block that is yet to be copied
	c.holds(8*255, 'w')
}

// What is due is copied in as many bursts as it is asked for, and no more of it in all.
func TestCopyingGoesOnBetweenTicks(t *testing.T) {
	const rate = 1 << 20 // a run of 256 KiB each 256 ms
	c := newCluster(t, Bugs{})
	c.agree(in(1), in(2), outside(3))
	x := lag(c)
	c.h.Pace(rate)
	c.pass(50 * Millisecond)
	if !c.h.Held() {
		t.Fatalf("%d blocks are copied, and nothing waits", len(x.blocks))
	}
	before, bursts := len(x.blocks), 0
	for i := int64(1); i <= 72; i++ {
		had := len(x.blocks)
		c.h.GoOn(c.now + i*4*Millisecond)
		c.settle()
		if len(x.blocks) > had {
			bursts++
		}
	}
	if copied := len(x.blocks) - before; bursts == 0 || copied > 2*runBlocks {
		t.Errorf("%d blocks in %d bursts in 288 ms", copied, bursts)
	}
}

// A head that may not go on does not ask to.
func TestADeposedHeadHoldsNothing(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.agree(in(1), in(2), outside(3))
	lag(c)
	c.h.Pace(1)
	c.pass(300 * Millisecond)
	if !c.h.Held() {
		t.Fatal("nothing waits for an allowance")
	}
	if c.h.Outranked(c.now, 99); c.h.Held() {
		t.Error("a deposed head holds copies that wait")
	}
}

// At the floor of the pace there is enough under way at once for disks that take their time, also where every second
// block differs; and no more than is needed where more may be copied.
func TestWhatIsUnderWayAtOnceFitsThePace(t *testing.T) {
	for _, x := range []struct {
		rate  uint64
		every uint32 // block of which differs
		least int    // runs
		most  uint64 // bytes
	}{{16 << 20, 1, 2, 768 << 10}, {16 << 20, 2, copiesMax, 64 << 10}, {400 << 20, 1, 4, 1 << 20}, {0, 1, 4, 1 << 20}} {
		c := newCluster(t, Bugs{})
		c.agree(in(1), in(2), outside(3))
		n := lagOf(c, 256, x.every)
		c.lose = func(to wire.NodeID, m wire.Message) bool { // what is copied stays under way
			w, ok := m.(*wire.Write)
			return ok && to == n.id && w.Versions != nil
		}
		c.h.Pace(x.rate)
		c.pass(400 * Millisecond)
		j := c.h.segments[0].joiners[n.id]
		if j == nil || j.running < x.least || j.bytes > x.most {
			t.Errorf("at %d bytes a second, where every %d. block differs: %+v", x.rate, x.every, j)
		}
	}
}
