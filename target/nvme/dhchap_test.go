package nvme

import (
	"bytes"
	"crypto/rand"
	"testing"

	"ashlar/target/nvme/auth"
)

// hostSide is a queue as its host has it.
type hostSide struct {
	controller Authenticator
	states     []AuthState // after each message
}

func (h *hostSide) AuthenticationSend(b []byte) error {
	defer func() { h.states = append(h.states, h.controller.State()) }()
	return h.controller.Send(b)
}

func (h *hostSide) AuthenticationReceive() ([]byte, error) {
	defer func() { h.states = append(h.states, h.controller.State()) }()
	return h.controller.Receive()
}

func TestAHostIsProvenWhenItsExchangeHasEnded(t *testing.T) {
	secret, err := auth.NewSecret(auth.SHA256, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := auth.NewSecret(auth.SHA256, bytes.Repeat([]byte{8}, 32))
	q := &hostSide{controller: DHCHAP{auth.NewController(auth.Config{HostNQN: "nqn.h", SubsystemNQN: "nqn.s", Host: secret}, rand.Reader, func() uint32 { return 1 })}}
	for _, test := range []struct {
		secret auth.Secret
		ok     bool
		want   []AuthState // after Negotiate, Challenge, Reply, and Success1 or Failure1
	}{
		{secret, true, []AuthState{Authenticating, Authenticating, Authenticating, Authenticated}},
		{secret, true, []AuthState{Authenticated, Authenticated, Authenticated, Authenticated}},
		{other, false, []AuthState{Authenticated, Authenticated, AuthFailed, AuthFailed}},
	} {
		q.states = nil
		host := auth.HostConfig{HostNQN: "nqn.h", SubsystemNQN: "nqn.s", Host: test.secret}
		if err := host.Authenticate(q, 1, 1, rand.Reader); (err == nil) != test.ok {
			t.Error(err)
		}
		if len(q.states) != 4 || [4]AuthState(q.states) != [4]AuthState(test.want) {
			t.Errorf("states %v, want %v", q.states, test.want)
		}
	}
}
