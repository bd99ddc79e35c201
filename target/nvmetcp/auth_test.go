package nvmetcp

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"ashlar/target/nvme"
	"ashlar/target/targettest/nvmehost"
)

// secret proves a host that says it.
type secret struct {
	word  string
	state nvme.AuthState
}

func (s *secret) Send(message []byte) error {
	switch string(message) {
	case s.word:
		s.state = nvme.Authenticated
	case "nonsense":
		return errors.New("nonsense")
	default:
		s.state = nvme.AuthFailed
	}
	return nil
}

func (s *secret) Receive() ([]byte, error) { return []byte{byte(s.state)}, nil }
func (s *secret) State() nvme.AuthState    { return s.state }

func authCommand(kind uint32, n int) *nvmehost.Command {
	c := nvmehost.New(nvme.Fabrics, kind)
	c.Command[41], c.Command[42], c.Command[43], c.Command[44] = 1, 1, 0xE9, byte(n)
	return c
}

func say(word string) *nvmehost.Command {
	c := authCommand(nvme.AuthSend, len(word))
	c.Out = []byte(word)
	return c
}

func TestAHostProvesItselfOnEveryQueue(t *testing.T) {
	dir := &moody{}
	r := newRig(t, func(c *Config) {
		dir.Static = c.Directory.(*Static)
		c.Directory = dir
	})
	var asked atomic.Int32
	dir.proof = func(q nvme.AuthRequest) nvme.Authenticator {
		asked.Add(1)
		if q.HostNQN != nvmehost.DefaultHost.NQN || q.SubsystemNQN != nqn || q.ControllerID == 0 {
			t.Errorf("asked for %+v", q)
		}
		return &secret{word: "sesame"}
	}
	prove := func(ctx context.Context, q *nvmehost.Queue) error {
		r.fails(q, nvmehost.New(nvme.KeepAlive, 0), nvme.AuthenticationRequired)
		if err := q.Do(ctx, say("sesame")); err != nil {
			return err
		}
		tell := authCommand(nvme.AuthReceive, 16)
		tell.In = make([]byte, 16)
		if err := q.Do(ctx, tell); err != nil || tell.In[0] != byte(nvme.Authenticated) {
			t.Errorf("received % x, %v", tell.In, err)
		}
		return nil
	}
	c := r.host(nvmehost.Options{Authenticate: prove})
	if asked.Load() != 2 {
		t.Errorf("%d exchanges for two queues", asked.Load())
	}
	r.must(c.IO[0], nvmehost.New(nvme.Flush, 1))
	// Anew, while the queue is in use.
	r.must(c.Admin, say("sesame"))
	if asked.Load() != 3 {
		t.Error("no new exchange")
	}
	r.must(c.Admin, nvmehost.New(nvme.KeepAlive, 0))

	wrong := func(ctx context.Context, q *nvmehost.Queue) error {
		if err := q.Do(ctx, say("simsim")); err != nil {
			return err
		}
		tell := authCommand(nvme.AuthReceive, 16)
		tell.In = make([]byte, 16)
		if err := q.Do(ctx, tell); err != nil {
			return err
		}
		<-q.Ended()
		return errors.New("unproven")
	}
	if _, err := nvmehost.Dial(r.ctx, r.address, nqn, nvmehost.Options{Authenticate: wrong}); err == nil || err.Error() != "unproven" {
		t.Errorf("a host with another word: %v", err)
	}
	nonsense := func(ctx context.Context, q *nvmehost.Queue) error {
		err := q.Do(ctx, say("nonsense"))
		<-q.Ended()
		return err
	}
	if _, err := nvmehost.Dial(r.ctx, r.address, nqn, nvmehost.Options{Authenticate: nonsense}); !nvmehost.Is(err, nvme.InvalidField) {
		t.Errorf("a host that talks nonsense: %v", err)
	}
	if _, err := nvmehost.Dial(r.ctx, r.address, nqn, nvmehost.Options{}); !nvmehost.Is(err, nvme.AuthenticationRequired) {
		t.Errorf("a host that says nothing: %v", err)
	}
}
