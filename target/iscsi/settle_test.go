package iscsi

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"ashlar/target/targettest/initiator"
)

// swap is a COMPARE AND WRITE of block 3.
func (r *rig) swap(s *initiator.Session, from, to byte) (done bool) {
	r.Helper()
	err := s.Do(r.ctx, swapCommand(from, to))
	var status *initiator.StatusError
	if err != nil && (!errors.As(err, &status) || status.Key != 0xE || status.Code != 0x1D00) {
		r.Fatal(err)
	}
	return err == nil
}

func swapCommand(from, to byte) *initiator.Command {
	cdb := make([]byte, 16)
	cdb[0], cdb[9], cdb[13] = 0x89, 3, 1
	return &initiator.Command{CDB: cdb, Out: append(bytes.Repeat([]byte{from}, 512), bytes.Repeat([]byte{to}, 512)...)}
}

// TestACompareAndWriteIsRepeatedAfterItsSessionEnded without the host's word that
// it had the answer.
func TestACompareAndWriteIsRepeatedAfterItsSessionEnded(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.host(1, initiator.Options{}), r.host(2, initiator.Options{})
	stranger := r.host(3, initiator.Options{Name: "iqn.2026-11.com.example:stranger"})
	if !r.swap(a, 0, 'a') {
		t.Fatal("miscompare")
	}
	if r.swap(b, 0, 'a') {
		t.Fatal("carried out twice")
	}
	a.Close()
	r.eventually("the session is over", func() bool { return r.server.Sessions() == 2 })
	if r.swap(stranger, 0, 'a') {
		t.Error("another host's command was taken for the repetition")
	}
	if !r.swap(b, 0, 'a') {
		t.Error("the repetition miscompares with its own work")
	}
	if r.swap(r.host(1, initiator.Options{}), 0, 'a') {
		t.Error("repeated twice")
	}
}

func TestAnAcknowledgedCompareAndWriteIsOver(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.host(1, initiator.Options{}), r.host(2, initiator.Options{})
	if !r.swap(a, 0, 'a') {
		t.Fatal("miscompare")
	}
	if err := a.Ping(r.ctx, nil); err != nil { // whose ExpStatSN says it
		t.Fatal(err)
	}
	a.Close()
	r.eventually("the session is over", func() bool { return r.server.Sessions() == 1 })
	if r.swap(b, 0, 'a') {
		t.Error("carried out twice")
	}
}

// TestAnIdleHostIsAskedWhetherItHasTheAnswer, since it says so only with a PDU.
func TestAnIdleHostIsAskedWhetherItHasTheAnswer(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PingInterval = time.Second })
	a, b := r.host(1, initiator.Options{}), r.host(2, initiator.Options{})
	if !r.swap(a, 0, 'a') {
		t.Fatal("miscompare")
	}
	r.eventually("the answer is acknowledged", func() bool {
		for _, c := range r.server.conns.All() {
			if c.unsettled.some.Load() {
				return false
			}
		}
		return true
	})
	a.Close()
	r.eventually("the session is over", func() bool { return r.server.Sessions() == 1 })
	if r.swap(b, 0, 'a') {
		t.Error("carried out twice")
	}
}

// TestEqualCompareAndWritesOverTwoPathsSucceedOnce: as two processes of a host do.
func TestEqualCompareAndWritesOverTwoPathsSucceedOnce(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.host(1, initiator.Options{}), r.host(2, initiator.Options{})
	for i := range byte(200) {
		first, second := submit(a, swapCommand(i, i+1)), submit(b, swapCommand(i, i+1))
		good := 0
		for _, err := range []error{r.wait(first), r.wait(second)} {
			if err == nil {
				good++
			}
		}
		if good != 1 {
			t.Fatalf("round %d: %d succeeded", i, good)
		}
	}
}

// TestResponsesAreSettledInOrder across the wrap of StatSN.
func TestResponsesAreSettledInOrder(t *testing.T) {
	var u unsettled
	var heard, lost []uint32
	for i := range uint32(6) {
		sn := 0xFFFFFFFD + 2*i
		u.add(sn, func(acknowledged bool) {
			if acknowledged {
				heard = append(heard, sn)
			} else {
				lost = append(lost, sn)
			}
		})
	}
	u.acknowledged(0xFFFFFFFD)
	if heard != nil {
		t.Errorf("%x: it expects that one", heard)
	}
	u.acknowledged(0)
	u.acknowledged(0xFFFFFFFF) // out of date
	u.acknowledged(2)
	if want := []uint32{0xFFFFFFFD, 0xFFFFFFFF, 1}; !slices.Equal(heard, want) {
		t.Errorf("%x were heard, want %x", heard, want)
	}
	u.end()
	u.add(9, func(acknowledged bool) { lost = append(lost, 9) })
	if want := []uint32{3, 5, 7, 9}; !slices.Equal(lost, want) || len(heard) != 3 {
		t.Errorf("%x were lost, want %x", lost, want)
	}
}
