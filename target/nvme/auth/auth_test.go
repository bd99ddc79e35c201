package auth

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

const (
	hostNQN      = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000001"
	subsystemNQN = "nqn.2026-11.io.ashlar:prod.db"
)

// The bytes of an exchange are those that the standard demands. vectors.py computes
// them from it by other means than this package.
func TestResponsesAreThoseOfTheStandard(t *testing.T) {
	f, err := os.Open("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var name, group, host, subsystem, hostSecret, controllerSecret string
		var tid uint16
		var s1, s2 uint32
		var hexed [8]string
		if _, err := fmt.Sscan(lines.Text(), &name, &group, &host, &subsystem, &hostSecret, &controllerSecret, &tid, &s1, &s2,
			&hexed[0], &hexed[1], &hexed[2], &hexed[3], &hexed[4], &hexed[5], &hexed[6], &hexed[7]); err != nil {
			t.Fatal(err)
		}
		var b [8][]byte // x, y, C1, C2, SHA-256 of the public values, R1, R2
		for i, text := range hexed {
			b[i], _ = hex.DecodeString(text)
		}
		h := Hash(0)
		for _, known := range Hashes {
			if known.String() == name {
				h = known
			}
		}
		g := Group(255)
		for _, known := range Groups {
			if known.String() == group {
				g = known
			}
		}
		config := Config{HostNQN: host, SubsystemNQN: subsystem, Host: secretOf(t, hostSecret), Controller: secretOf(t, controllerSecret)}
		// The random bytes that the controller takes are C1 and x, the host's y.
		c := NewController(config, bytes.NewReader(append(append([]byte(nil), b[2]...), b[0]...)), func() uint32 { return s1 })
		offer := Negotiate{Transaction: tid, Protocols: []Protocol{{1, []Hash{h}, []Group{g}}}}
		must(t, c.Send(offer.Append(nil)))
		asked, err := c.Receive()
		must(t, err)
		m, reason := Parse(asked)
		challenge, ok := m.(*Challenge)
		if !ok || reason != 0 || challenge.Hash != h || challenge.Group != g || challenge.Sequence != s1 || !bytes.Equal(challenge.Value, b[2]) || !sums(challenge.DH, b[4]) {
			t.Fatalf("%s %s: %v %v", name, group, m, reason)
		}
		hostConfig := HostConfig{HostNQN: host, SubsystemNQN: subsystem, Host: config.Host, Controller: config.Controller, Hashes: Hashes, Groups: Groups}
		reply, check, reason, err := hostConfig.answer(challenge, tid, s2, bytes.NewReader(append(pick(g, b[1]), b[3]...)))
		if err != nil || reason != 0 || !bytes.Equal(reply.Response, b[6]) || !bytes.Equal(check, b[7]) || !sums(reply.DH, b[5]) {
			t.Fatalf("%s %s: %v %v %v\nR1 %x\nR2 %x", name, group, reply, reason, err, reply.Response, check)
		}
		must(t, c.Send(reply.Append(nil)))
		granted, err := c.Receive()
		must(t, err)
		if m, reason := Parse(granted); reason != 0 || !reflect.DeepEqual(m, &Success1{tid, uint8(h.Size()), b[7]}) {
			t.Fatalf("%s %s: %v %v", name, group, m, reason)
		}
		must(t, c.Send((&Success2{tid}).Append(nil)))
		if !c.Authenticated() {
			t.Errorf("%s %s: not authenticated", name, group)
		}
	}
	if n != len(Hashes)*len(Groups) {
		t.Errorf("%d vectors", n)
	}
}

// pick is the private exponent, which no host has in the null group.
func pick(g Group, b []byte) []byte {
	if g == GroupNull {
		return nil
	}
	return append([]byte(nil), b...)
}

func sums(b, sum []byte) bool {
	s := sha256.Sum256(b)
	return bytes.Equal(s[:], sum)
}

// SHA-256 of the primes as OpenSSL has them.
var opensslPrimes = map[Group]string{
	Group2048: "9cd3b7f336872f46c09428d1bbc19877a4d440512cda8d1c1cf0cd6e33698966",
	Group3072: "0eaf67db3a839156d5013494a5318a772b5697d270d721f37f092efc69ea5a17",
	Group4096: "4648414224ac881b3d0dc59b466f96d06a558278776807797ecf1f66ff397b3e",
	Group6144: "227ac9066b3ddd9e193670cda2388fa884f65ba0cf98b742d1fe77a6687c79c7",
	Group8192: "770b14efaf6f049929c523113b3fa99a8d11dab1b18af3609590122075d19833",
}

func TestGroupsAreThoseOfRFC7919(t *testing.T) {
	for g, want := range opensslPrimes {
		p := g.prime()
		if s := sha256.Sum256(p); len(p) != g.Size() || hex.EncodeToString(s[:]) != want {
			t.Errorf("%v: %x", g, p)
		}
	}
}

// A public value that makes the secret a known one would let anybody who may
// change messages do without Diffie and Hellman.
func TestValuesOutsideTheGroupAreRefused(t *testing.T) {
	for g := range opensslPrimes {
		x, err := newExchange(g, rand.Reader)
		must(t, err)
		p := new(big.Int).SetBytes(g.prime())
		at := func(offset int64) []byte {
			return new(big.Int).Add(p, big.NewInt(offset)).FillBytes(make([]byte, g.Size()))
		}
		one := make([]byte, g.Size())
		one[g.Size()-1] = 1
		for name, public := range map[string][]byte{
			"zero": make([]byte, g.Size()), "one": one, "p-1": at(-1), "p": at(0), "p+1": at(1), "none": nil, "short": at(-2)[1:], "long": append([]byte{0}, at(-2)...),
		} {
			if _, err := x.shared(public); err == nil {
				t.Errorf("%v takes %s", g, name)
			}
		}
		if _, err := x.shared(at(-2)); err != nil {
			t.Errorf("%v refuses p-2", g)
		}
	}
	null, _ := newExchange(GroupNull, nil)
	if _, err := null.shared([]byte{2}); err == nil {
		t.Error("the null group takes a value")
	}
}

// wire is the queue between both sides, and what they say there.
type wire struct {
	controller *Controller
	said       []Message
	sent       func(m Message) Message // what arrives instead
	fetched    func(m Message) Message
}

func (w *wire) AuthenticationSend(b []byte) error {
	m, reason := Parse(b)
	if reason != 0 {
		return fmt.Errorf("the host says %x", b)
	}
	if w.sent != nil {
		m = w.sent(m)
	}
	w.said = append(w.said, m)
	return w.controller.Send(m.Append(nil))
}

func (w *wire) AuthenticationReceive() ([]byte, error) {
	b, err := w.controller.Receive()
	if err != nil {
		return nil, err
	}
	m, reason := Parse(b)
	if reason != 0 {
		return nil, fmt.Errorf("the controller says %x", b)
	}
	if w.fetched != nil {
		m = w.fetched(m)
	}
	w.said = append(w.said, m)
	return append(m.Append(nil), 0, 0, 0), nil
}

func (w *wire) conversation() string {
	var names []string
	for _, m := range w.said {
		name, _, _ := strings.Cut(m.String(), " ")
		names = append(names, strings.TrimPrefix(strings.TrimPrefix(name, "DH-HMAC-CHAP_"), "AUTH_"))
	}
	return strings.Join(names, " ")
}

var counter uint32 = 1

func count() uint32 { counter++; return counter }

func both(t testing.TB) (Config, HostConfig) {
	t.Helper()
	h, c := newSecret(t, SHA256, 32), newSecret(t, SHA512, 64)
	return Config{hostNQN, subsystemNQN, h, c, nil, nil}, HostConfig{hostNQN, subsystemNQN, h, c, nil, nil}
}

func newSecret(t testing.TB, h Hash, n int) Secret {
	t.Helper()
	key := make([]byte, n)
	rand.Read(key)
	s, err := NewSecret(h, key)
	must(t, err)
	return s
}

func secretOf(t testing.TB, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAHostThatKnowsItsSecretIsLetIn(t *testing.T) {
	config, host := both(t)
	oneWay := host
	oneWay.Controller = Secret{}
	for name, test := range map[string]struct {
		host HostConfig
		want string
	}{
		"one way":   {oneWay, "Negotiate Challenge Reply Success1"},
		"both ways": {host, "Negotiate Challenge Reply Success1 Success2"},
	} {
		w := &wire{controller: NewController(config, rand.Reader, count)}
		if w.controller.Authenticated() || w.controller.Pending() {
			t.Error("it begins so")
		}
		for i := range 3 { // and again, on the same queue
			w.said = nil
			must(t, test.host.Authenticate(w, uint16(i), count(), rand.Reader))
			if !w.controller.Authenticated() || w.controller.Pending() || w.conversation() != test.want {
				t.Errorf("%s: authenticated %v, pending %v after %s", name, w.controller.Authenticated(), w.controller.Pending(), w.conversation())
			}
		}
	}
}

func TestWhatBothPreferIsChosen(t *testing.T) {
	config, host := both(t)
	config.Hashes, config.Groups = []Hash{SHA384, SHA256}, []Group{Group4096, Group2048}
	host.Hashes, host.Groups = []Hash{SHA256, SHA384, SHA512}, []Group{GroupNull, Group2048, Group4096}
	w := &wire{controller: NewController(config, rand.Reader, count)}
	must(t, host.Authenticate(w, 1, count(), rand.Reader))
	if m := w.said[1].(*Challenge); m.Hash != SHA384 || m.Group != Group4096 {
		t.Error(m)
	}
}

// Whatever differs between the two, the host is not let in, is told why, and the
// connection ends.
func TestWhoeverDoesNotKnowIsNotLetIn(t *testing.T) {
	tests := map[string]struct {
		change  func(c *Config, h *HostConfig)
		sent    func(Message) Message
		reason  Reason
		refused bool // by the host
	}{
		"another secret":             {change: func(c *Config, h *HostConfig) { h.Host = newSecret(t, SHA256, 32) }, reason: Failed},
		"the secret's other use":     {change: func(c *Config, h *HostConfig) { h.Host.secret = &secret{SHA512, h.Host.key} }, reason: Failed},
		"the controller's secret":    {change: func(c *Config, h *HostConfig) { h.Host, h.Controller = h.Controller, h.Host }, reason: Failed},
		"another host's name":        {change: func(c *Config, h *HostConfig) { h.HostNQN += "x" }, reason: Failed},
		"another subsystem's":        {change: func(c *Config, h *HostConfig) { h.SubsystemNQN += "x" }, reason: Failed},
		"no secret here":             {change: func(c *Config, h *HostConfig) { c.Host = Secret{} }, reason: Failed},
		"no secret of ours":          {change: func(c *Config, h *HostConfig) { c.Controller = Secret{} }, reason: Failed},
		"a controller that lies":     {change: func(c *Config, h *HostConfig) { c.Controller = newSecret(t, SHA512, 64) }, reason: Failed, refused: true},
		"no common hash":             {change: func(c *Config, h *HostConfig) { c.Hashes, h.Hashes = []Hash{SHA512}, []Hash{SHA256} }, reason: HashUnusable},
		"a hash of the future":       {change: func(c *Config, h *HostConfig) { h.Hashes = []Hash{9} }, reason: HashUnusable},
		"no common group":            {change: func(c *Config, h *HostConfig) { c.Groups, h.Groups = []Group{Group3072}, []Group{GroupNull} }, reason: GroupUnusable},
		"secure concatenation":       {sent: on(func(m *Negotiate) { m.Concat = 1 }), reason: ConcatMismatch},
		"another protocol":           {sent: on(func(m *Negotiate) { m.Protocols = []Protocol{{ID: 2}} }), reason: ProtocolUnusable},
		"no protocol":                {sent: on(func(m *Negotiate) { m.Protocols = nil }), reason: ProtocolUnusable},
		"another transaction":        {sent: on(func(m *Reply) { m.Transaction++ }), reason: IncorrectPayload},
		"a changed response":         {sent: on(func(m *Reply) { m.Response[0] ^= 1 }), reason: Failed},
		"a response of another size": {sent: on(func(m *Reply) { m.Response, m.Challenge = m.Response[:32], m.Challenge[:32] }), reason: IncorrectPayload},
		"a challenge numbered 0":     {sent: on(func(m *Reply) { m.Sequence = 0 }), reason: IncorrectPayload},
		"a value of another group":   {sent: on(func(m *Reply) { m.DH = m.DH[1:] }), reason: IncorrectPayload},
		"no value":                   {sent: on(func(m *Reply) { m.DH = nil }), reason: IncorrectPayload},
		"another value":              {sent: on(func(m *Reply) { m.DH[9] ^= 1 }), reason: Failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config, host := both(t)
			if test.change != nil {
				test.change(&config, &host)
			}
			w := &wire{controller: NewController(config, rand.Reader, count), sent: test.sent}
			err := host.Authenticate(w, 7, count(), rand.Reader)
			var f *Failure
			if !errors.As(err, &f) || *f != (Failure{test.refused, 7, test.reason}) || test.refused != errors.Is(err, ErrController) {
				t.Errorf("the host hears %v", err)
			}
			if reason, failed := w.controller.Failed(); !failed || reason != test.reason || w.controller.Authenticated() {
				t.Errorf("failed %v %v, authenticated %v", failed, reason, w.controller.Authenticated())
			}
			// It stays so.
			if err := host.Authenticate(w, 8, count(), rand.Reader); err == nil || w.controller.Authenticated() {
				t.Error("the next attempt on that connection:", err)
			}
		})
	}
}

func on[M Message](change func(M)) func(Message) Message {
	return func(m Message) Message {
		if m, ok := m.(M); ok {
			change(m)
		}
		return m
	}
}

// A controller that does not prove itself though it should is refused.
func TestAProofCannotBeLeftOut(t *testing.T) {
	for name, fetched := range map[string]func(Message) Message{
		"left out":            on(func(m *Success1) { m.Response = nil }),
		"of no size":          on(func(m *Success1) { m.Size, m.Response = 0, nil }),
		"another transaction": on(func(m *Success1) { m.Transaction++ }),
	} {
		config, host := both(t)
		w := &wire{controller: NewController(config, rand.Reader, count), fetched: fetched}
		if err := host.Authenticate(w, 7, count(), rand.Reader); err == nil {
			t.Errorf("%s: it is taken", name)
		}
		if _, failed := w.controller.Failed(); !failed {
			t.Errorf("%s: the connection stays", name)
		}
	}
}

// Messages out of their order are answered with a failure, and let nobody in.
func TestNoStepCanBeLeftOut(t *testing.T) {
	config, host := both(t)
	var replies []Message
	w := &wire{controller: NewController(config, rand.Reader, count), sent: func(m Message) Message { replies = append(replies, m); return m }}
	must(t, host.Authenticate(w, 7, count(), rand.Reader))
	negotiate, reply := replies[0].Append(nil), replies[1].Append(nil)
	for name, steps := range map[string]string{
		"success at once": "2", "reply at once": "r", "reply before the challenge": "nr", "the same reply": "nRr", "success instead of a reply": "nR2",
		"fetched twice": "nRR", "fetched first": "R", "a challenge": "c", "a failure of nothing": "f",
	} {
		c := NewController(config, rand.Reader, count)
		for _, s := range steps {
			switch s {
			case 'n':
				must(t, c.Send(negotiate))
			case 'r':
				must(t, c.Send(reply))
			case '2':
				must(t, c.Send((&Success2{7}).Append(nil)))
			case 'c':
				must(t, c.Send((&Challenge{Transaction: 7}).Append(nil)))
			case 'f':
				must(t, c.Send((&Failure{true, 7, Failed}).Append(nil)))
			case 'R':
				_, err := c.Receive()
				must(t, err)
			}
		}
		c.Receive()
		if reason, failed := c.Failed(); !failed || c.Authenticated() {
			t.Errorf("%s: failed %v %v, authenticated %v", name, failed, reason, c.Authenticated())
		}
	}
}

// Until it has proven itself anew a host goes on, and when that fails it does not.
func TestAFailureToDoItAgainIsOne(t *testing.T) {
	config, host := both(t)
	w := &wire{controller: NewController(config, rand.Reader, count)}
	must(t, host.Authenticate(w, 1, count(), rand.Reader))
	w.sent = func(m Message) Message {
		if !w.controller.Authenticated() {
			t.Errorf("not authenticated before %v", m)
		}
		return m
	}
	host.Host = newSecret(t, SHA256, 32)
	if err := host.Authenticate(w, 2, count(), rand.Reader); err == nil || w.controller.Authenticated() {
		t.Error(err)
	}
}

func BenchmarkController(b *testing.B) {
	for _, g := range Groups {
		b.Run(g.String(), func(b *testing.B) {
			for b.Loop() {
				x, err := newExchange(g, rand.Reader)
				must(b, err)
				if g != GroupNull {
					_, err = x.shared(x.public)
				}
				must(b, err)
			}
		})
	}
}
