package lease

import (
	"testing"

	"ashlar/replication/wire"
)

const ms = int64(1_000_000)

var three = []wire.NodeID{1, 2, 3}

func grant(voter wire.NodeID, sent int64, version uint64) Grant {
	return Grant{Voter: voter, Sent: sent, Version: version, Granted: true}
}

func expectUntil(t *testing.T, h *Holder, version uint64, voters []wire.NodeID, want int64) {
	t.Helper()
	if got := h.Until(version, voters); got != want {
		t.Errorf("until %d ms, want %d ms", got/ms, want/ms)
	}
}

func TestALeaseNeedsAMajorityAndRunsFromItsOldestSending(t *testing.T) {
	h := NewHolder(1, 1)
	expectUntil(t, h, 1, three, 0)
	h.Granted(grant(1, 900*ms, 1))
	expectUntil(t, h, 1, three, 0)
	h.Granted(grant(9, 900*ms, 1)) // no voter
	expectUntil(t, h, 1, three, 0)
	h.Granted(grant(2, 300*ms, 1))
	expectUntil(t, h, 1, three, 300*ms+Length)
	h.Granted(grant(3, 600*ms, 1))
	expectUntil(t, h, 1, three, 600*ms+Length)
	h.Granted(grant(2, 100*ms, 1)) // late
	expectUntil(t, h, 1, three, 600*ms+Length)
}

func TestALeaseOfOneNodeIsItsOwnGrant(t *testing.T) {
	h, v := NewHolder(1, 1), NewVoter(1, 0)
	h.Granted(v.Renew(5*ms, Renew{1, 1, 5 * ms}, 1, 1))
	expectUntil(t, h, 1, []wire.NodeID{1}, 5*ms+Length)
	expectUntil(t, NewHolder(1, 1), 1, nil, 0)
}

func TestWhatWasNotGrantedCountsForNothing(t *testing.T) {
	h := NewHolder(1, 1)
	for _, v := range three {
		h.Granted(Grant{Voter: v, Sent: 100 * ms, Version: 1})
	}
	expectUntil(t, h, 1, three, 0)
}

func TestGrantsOfTwoConfigurationsDoNotAddUp(t *testing.T) {
	h := NewHolder(1, 1)
	h.Granted(grant(1, 100*ms, 1))
	h.Granted(grant(2, 100*ms, 2))
	expectUntil(t, h, 1, three, 0)
	expectUntil(t, h, 2, three, 0)
	h.Granted(grant(1, 200*ms, 2))
	expectUntil(t, h, 2, three, 100*ms+Length)
}

func TestAFourthVoterRaisesTheMajority(t *testing.T) {
	h := NewHolder(1, 1)
	h.Granted(grant(1, 100*ms, 2))
	h.Granted(grant(2, 100*ms, 2))
	expectUntil(t, h, 2, []wire.NodeID{1, 2, 3, 4}, 0)
	h.Granted(grant(4, 50*ms, 2))
	expectUntil(t, h, 2, []wire.NodeID{1, 2, 3, 4}, 50*ms+Length)
}

func TestRenewalsAreSentEvery300ms(t *testing.T) {
	h := NewHolder(4, 7)
	var sent []int64
	for now := int64(0); now <= 1000*ms; now += 50 * ms {
		if r := h.Tick(now); r != nil {
			if *r != (Renew{4, 7, now}) {
				t.Errorf("%+v at %d", r, now)
			}
			sent = append(sent, now/ms)
		}
	}
	if len(sent) != 4 || sent[3] != 900 {
		t.Errorf("sent at %v ms", sent)
	}
}

func TestAHolderHearsThatItIsFenced(t *testing.T) {
	h := NewHolder(1, 1)
	h.Granted(grant(2, 0, 1))
	if h.Fenced() {
		t.Error("nobody said so")
	}
	h.Granted(Grant{Voter: 3, Fenced: true})
	if !h.Fenced() {
		t.Error("a voter said so")
	}
}

func TestAVoterGrantsOnlyToTheIncarnationThatIsUp(t *testing.T) {
	for _, c := range []struct {
		name            string
		asks, present   wire.Incarnation
		granted, fenced bool
	}{
		{"the one that is up", 3, 3, true, false},
		{"a former one", 2, 3, false, true},
		{"one not known yet", 4, 3, false, false},
		{"none is known to be up", 3, 0, false, false},
	} {
		g := NewVoter(1, 0).Renew(0, Renew{2, c.asks, 77}, c.present, 5)
		if want := (Grant{Voter: 1, Sent: 77, Version: 5, Granted: c.granted, Fenced: c.fenced}); g != want {
			t.Errorf("%s: %+v, want %+v", c.name, g, want)
		}
	}
}

func TestAPromiseOutlastsTheLeaseAndNoLonger(t *testing.T) {
	v := NewVoter(1, 0)
	start := 2 * Promise
	v.Renew(start, Renew{2, 1, start}, 1, 1)
	for _, at := range []int64{start, start + Length, start + Promise - 1} {
		if v.Lapsed(at, 2, 1) || v.Condemn(at, 2, 1) {
			t.Errorf("free %d ms after its grant", (at-start)/ms)
		}
	}
	if !v.Lapsed(start+Promise, 2, 1) || !v.Condemn(start+Promise, 2, 1) {
		t.Error("never free")
	}
}

func TestWhomAVoterCondemnedItNeverGrantsAgain(t *testing.T) {
	v := NewVoter(1, 0)
	v.Renew(0, Renew{2, 3, 0}, 3, 1)
	at := 2 * Promise
	if !v.Condemn(at, 2, 3) {
		t.Fatal("not free")
	}
	for _, old := range []wire.Incarnation{2, 3} {
		if g := v.Renew(at, Renew{2, old, at}, old, 1); g.Granted || !g.Fenced {
			t.Errorf("incarnation %d is told %+v", old, g)
		}
	}
	if g := v.Renew(at, Renew{2, 4, at}, 4, 1); !g.Granted {
		t.Errorf("its next incarnation is told %+v", g)
	}
	if g := v.Renew(at, Renew{3, 1, at}, 1, 1); !g.Granted {
		t.Errorf("another node is told %+v", g)
	}
}

// TestARestartedVoterWaits: what it promised in its former life may still hold.
func TestARestartedVoterWaits(t *testing.T) {
	start := 500 * ms
	v := NewVoter(1, start)
	v.Lapsed(start, 2, 1)
	for _, at := range []int64{start, start + Promise - 1} {
		if v.Condemn(at, 2, 1) {
			t.Errorf("it condemns after %d ms", (at-start)/ms)
		}
	}
	if !v.Condemn(start+Promise, 2, 1) {
		t.Error("it never does")
	}
}

func TestAVoterWaitsWhenTheVotersChange(t *testing.T) {
	v := NewVoter(1, 0)
	v.Lapsed(0, 2, 1)
	changed := 10 * Promise
	v.Reconfigured(changed)
	if v.Condemn(changed+Promise-1, 2, 1) || !v.Condemn(changed+Promise, 2, 1) {
		t.Error("it does not wait for as long as a promise lasts")
	}
}

// TestANewbornIncarnationHasTimeToAsk: it is up before its first renewal.
func TestANewbornIncarnationHasTimeToAsk(t *testing.T) {
	v := NewVoter(1, 0)
	v.Renew(0, Renew{2, 1, 0}, 1, 1)
	born := 10 * Promise
	if v.Condemn(born, 2, 2) || v.Condemn(born+Promise-1, 2, 2) {
		t.Error("condemned before it could ask")
	}
	if !v.Condemn(born+Promise, 2, 2) {
		t.Error("never condemned although it never asked")
	}
}
