package cluster

import (
	"fmt"
	"testing"
)

// order is a client's name for a command, now and then one that was there before.
func (g *chaos) order() *Order {
	if g.IntN(24) > 0 {
		return nil
	}
	return &Order{Key: fmt.Sprint("key", g.IntN(8)), Of: fmt.Sprint(g.IntN(2))}
}

func TestAnOrderThatIsGivenAgainIsToldWhatTheFirstWasTold(t *testing.T) {
	r := newRig(t, 3, 3)
	create := func(request, key, of, name string) Command {
		return Command{Request: request, Order: &Order{key, of}, CreateVolume: &CreateVolume{Name: name, Bytes: mib, Copies: 2}}
	}
	first := r.good(create("a", "k1", "v", "v"))
	if again := r.good(create("b", "k1", "v", "v")); again != first || len(r.Volumes) != 1 {
		t.Errorf("%+v after %+v, and %d volumes", again, first, len(r.Volumes))
	}
	r.good(Command{DeleteVolume: &DeleteVolume{Name: "v"}})
	if again := r.good(create("c", "k1", "v", "v")); again != first || len(r.Volumes) != 0 {
		t.Errorf("%+v after %+v, and %d volumes", again, first, len(r.Volumes))
	}
	r.refuse(KeyReused, create("d", "k1", "w", "w"))

	// A refusal is an answer, too.
	r.refuse(Invalid, create("e", "k2", "x", "no name"))
	r.refuse(Invalid, create("f", "k2", "x", "no name"))
	r.good(create("g", "k3", "x", "x"))
}

func TestTheLatestOrdersAreRemembered(t *testing.T) {
	r := newRig(t, 1, 1)
	for i := range orderedMax + 1 {
		r.good(Command{Order: &Order{fmt.Sprint(i), ""}, AddHost: &AddHost{Name: fmt.Sprint("h", i), IQN: fmt.Sprint("iqn.2026-11.com.example:", i)}})
	}
	if len(r.Ordered) != orderedMax || r.OrderOf("0") != nil || r.OrderOf("1") == nil {
		t.Errorf("%d orders are remembered, the first is %+v", len(r.Ordered), r.Ordered[0])
	}
	if label := r.withoutSecrets(); label.Ordered != nil {
		t.Error("labels tell of keys")
	}
}
