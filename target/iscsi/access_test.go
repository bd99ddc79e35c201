package iscsi

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
	"ashlar/target/targettest/initiator"
)

const (
	hostName  = "iqn.2026-11.com.example:initiator" // the initiator's default
	ourSecret = "target's secret"
	secret    = "initiator secret"
)

// guarded is a directory of which a test decides what it knows.
type guarded struct {
	*Static
	mu          sync.Mutex
	starting    bool
	lacksUnits  bool
	hidden      bool
	elsewhere   netip.AddrPort
	credentials map[bool]Credentials // by whether it is for discovery
}

func (g *guarded) set(change func(*guarded)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

func (g *guarded) secrets(discovery bool, c Credentials) {
	g.set(func(g *guarded) { g.credentials[discovery] = c })
}

func (g *guarded) Ready() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.starting
}

func (g *guarded) Visible(initiator, iqn string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.hidden && g.Static.Visible(initiator, iqn)
}

func (g *guarded) Target(initiator, iqn string) *scsi.Target {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lacksUnits {
		return nil
	}
	return g.Static.Target(initiator, iqn)
}

func (g *guarded) Listings(initiator string) []Listing {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hidden {
		return nil
	}
	return g.Static.Listings(initiator)
}

func (g *guarded) Credentials(_ string, discovery bool) Credentials {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.credentials[discovery]
}

func (g *guarded) Redirect(_, iqn string, _ net.Addr) (netip.AddrPort, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.elsewhere, g.elsewhere.IsValid() && iqn == other
}

func newGuardedRig(t testing.TB) (*rig, *guarded) {
	g := &guarded{credentials: map[bool]Credentials{}}
	r := newRig(t, func(c *Config) {
		g.Static = c.Directory.(*Static)
		c.Directory = g
	})
	return r, g
}

func both() Credentials {
	return Credentials{Users: []string{hostName, "web1"}, Secret: []byte(secret), MutualUser: "prod", MutualSecret: []byte(ourSecret)}
}

func (r *rig) status(target string, o initiator.Options) session.LoginStatus {
	r.Helper()
	s, err := initiator.Dial(r.ctx, r.address, target, o)
	if err == nil {
		s.Close()
		return session.LoginSuccess
	}
	var refused *initiator.LoginError
	if !errors.As(err, &refused) {
		r.Fatal(err)
	}
	return session.LoginStatus(refused.Status)
}

func TestCHAPLoginsCarryIO(t *testing.T) {
	r, g := newGuardedRig(t)
	g.secrets(false, both())
	n := byte(0)
	for _, a := range session.Algorithms {
		for _, mutual := range []string{"", ourSecret} {
			for _, inBase64 := range []bool{false, true} {
				n++
				chap := &initiator.CHAP{User: "web1", Secret: []byte(secret), MutualSecret: []byte(mutual), MutualUser: "prod",
					Algorithms: []session.Algorithm{a}, Base64: inBase64}
				s := r.host(n, initiator.Options{CHAP: chap, HeaderDigest: n%2 == 0})
				want, got := bytes.Repeat([]byte{n}, 4096), make([]byte, 4096)
				if err := s.Write(r.ctx, 0, 8, want, 512); err != nil {
					t.Fatal(err)
				}
				if err := s.Read(r.ctx, 0, 8, got, 512); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("algorithm %d: %v", a, err)
				}
				if s.Params.PortalGroup != "1" {
					t.Errorf("portal group %q", s.Params.PortalGroup)
				}
			}
		}
	}
}

func TestLoginsWithoutTheSecretAreRefused(t *testing.T) {
	r, g := newGuardedRig(t)
	g.secrets(false, both())
	chap := func(user, secret string) initiator.Options {
		return initiator.Options{CHAP: &initiator.CHAP{User: user, Secret: []byte(secret)}}
	}
	for what, c := range map[string]struct {
		o    initiator.Options
		want session.LoginStatus
	}{
		"nothing":          {initiator.Options{}, session.LoginAuthentication},
		"the wrong secret": {chap("web1", "initiator_secret"), session.LoginAuthentication},
		"the wrong name":   {chap("web2", secret), session.LoginAuthentication},
		"our own secret":   {chap("prod", ourSecret), session.LoginAuthentication},
		"the right one":    {chap("web1", secret), session.LoginSuccess},
	} {
		if got := r.status(iqn, c.o); got != c.want {
			t.Errorf("%s: %04x, want %04x", what, got, c.want)
		}
	}
}

func TestATargetThatDoesNotKnowItsSecretIsNotTrusted(t *testing.T) {
	r, g := newGuardedRig(t)
	for what, change := range map[string]func(*Credentials){
		"another secret": func(c *Credentials) { c.MutualSecret = []byte("somebody else's") },
		"another name":   func(c *Credentials) { c.MutualUser = "test" },
		"no CHAP":        func(c *Credentials) { *c = Credentials{} },
	} {
		c := both()
		change(&c)
		g.secrets(false, c)
		chap := &initiator.CHAP{User: "web1", Secret: []byte(secret), MutualUser: "prod", MutualSecret: []byte(ourSecret)}
		if _, err := initiator.Dial(r.ctx, r.address, iqn, initiator.Options{CHAP: chap}); !errors.Is(err, initiator.ErrTarget) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDiscoveryIsAuthenticatedByItself(t *testing.T) {
	r, g := newGuardedRig(t)
	chap := initiator.Options{CHAP: &initiator.CHAP{User: "web1", Secret: []byte(secret)}}
	g.secrets(true, both())
	if got := r.status("", initiator.Options{}); got != session.LoginAuthentication {
		t.Errorf("discovery without a secret: %04x", got)
	}
	if found, err := initiator.Discover(r.ctx, r.address, chap); err != nil || len(found) != 2 {
		t.Errorf("discovery with the secret: %v, %v", found, err)
	}
	if got := r.status(iqn, initiator.Options{}); got != session.LoginSuccess {
		t.Errorf("a normal session, which needs none: %04x", got)
	}
	if got := r.status(iqn, chap); got != session.LoginSuccess {
		t.Errorf("the same by a host that would: %04x", got)
	}
}

func TestAHostWithoutAccessLearnsNothing(t *testing.T) {
	r, g := newGuardedRig(t)
	g.set(func(g *guarded) { g.hidden = true })
	if found, err := initiator.Discover(r.ctx, r.address, initiator.Options{}); err != nil || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
	// The same answer whether there is such a target or not.
	for _, target := range []string{iqn, "iqn.none"} {
		if got := r.status(target, initiator.Options{}); got != session.LoginNotFound {
			t.Errorf("%s: %04x", target, got)
		}
	}
}

func TestANodeThatCannotServeIsToBeTriedAgain(t *testing.T) {
	r, g := newGuardedRig(t)
	for what, change := range map[string]func(*guarded){
		"starting, and knows no targets yet": func(g *guarded) { g.starting, g.hidden = true, true },
		"starting":                           func(g *guarded) { g.starting, g.hidden = true, false },
	} {
		g.set(change)
		for _, target := range []string{iqn, ""} {
			if got := r.status(target, initiator.Options{}); got != session.LoginUnavailable {
				t.Errorf("%s, target %q: %04x", what, target, got)
			}
		}
	}
	g.set(func(g *guarded) { g.starting, g.hidden, g.lacksUnits = false, false, true })
	if got := r.status(iqn, initiator.Options{}); got != session.LoginUnavailable {
		t.Errorf("without the target's units: %04x", got)
	}
	g.set(func(g *guarded) { g.lacksUnits = false })
	r.host(1, initiator.Options{})
}

func TestLoginIsRedirected(t *testing.T) {
	r, g := newGuardedRig(t)
	second := newRig(t, nil)
	g.set(func(g *guarded) { g.elsewhere = netip.MustParseAddrPort(second.address) })
	s, err := initiator.Dial(r.ctx, r.address, other, initiator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r.server.Sessions() != 0 || second.server.Sessions() != 1 {
		t.Fatalf("%d and %d sessions", r.server.Sessions(), second.server.Sessions())
	}
	c := r.dial()
	text := pdu.AppendText(pdu.AppendText(nil, "InitiatorName", "iqn.raw"), "TargetName", other)
	c.put(&pdu.LoginRequest{Transit: true, CSG: 1, NSG: 3, CmdSN: 1, DataLength: uint32(len(text))}, text)
	h, answer := c.get()
	var resp pdu.LoginResponse
	resp.Unmarshal(&h)
	if resp.Status != 0x0101 || string(answer) != "TargetAddress="+second.address+"\x00" {
		t.Fatalf("%v %q", &resp, answer)
	}
	c.ends()
}

func TestWrongSecretsAreLimitedInNumber(t *testing.T) {
	r, g := newGuardedRig(t)
	g.secrets(false, both())
	chap := func(s string) initiator.Options {
		return initiator.Options{CHAP: &initiator.CHAP{User: "web1", Secret: []byte(s)}}
	}
	for range 3 * guessBurst { // being right costs nothing
		if got := r.status(iqn, chap(secret)); got != session.LoginSuccess {
			t.Fatalf("%04x", got)
		}
	}
	// The refusals are slower than this only on a machine that stands still.
	counts := map[session.LoginStatus]int{}
	for n := range 4 * guessBurst {
		counts[r.status(iqn, chap(fmt.Sprintf("guess number %d", n)))]++
	}
	if counts[session.LoginUnavailable] == 0 || counts[session.LoginAuthentication] < guessBurst {
		t.Fatalf("statuses %v", counts)
	}
}

func TestGuessesAreForgottenWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guesses
		one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		for range guessBurst {
			if !g.take(one) {
				t.Fatal("too early")
			}
		}
		if g.take(one) || !g.take(two) {
			t.Fatal("the limit is not one of each address")
		}
		time.Sleep(guessInterval)
		if !g.take(one) || g.take(one) {
			t.Fatal("there is not one more after the interval")
		}
		g.giveBack(one)
		if !g.take(one) {
			t.Fatal("what was given back is gone")
		}
		for n := range 2 * guessersMost {
			g.take(netip.AddrFrom4([4]byte{11, 0, byte(n >> 8), byte(n)}))
		}
		if len(g.due) > guessersMost+1 {
			t.Fatalf("%d addresses are remembered", len(g.due))
		}
		if g.take(netip.MustParseAddr("12.0.0.1")) {
			t.Fatal("a flood of addresses is a way round the limit")
		}
		time.Sleep(time.Minute)
		if !g.take(netip.MustParseAddr("12.0.0.1")) || len(g.due) > guessersMost {
			t.Fatal("the flood is not forgotten")
		}
	})
	a := guesser(&net.TCPAddr{IP: net.ParseIP("fd00:1:2:3:4::5")})
	if b := guesser(&net.TCPAddr{IP: net.ParseIP("fd00:1:2:3::6")}); a != b || a == guesser(&net.TCPAddr{IP: net.ParseIP("fd00:1:2:4::6")}) {
		t.Errorf("IPv6 hosts are not counted by network: %v, %v", a, b)
	}
}

// libiscsi's tools log in by CHAP with MD5, another implementation than ours, in
// one direction and in both, for discovery and for a unit.
func TestLibiscsiAuthenticates(t *testing.T) {
	r, g := newGuardedRig(t)
	for _, discovery := range []bool{false, true} {
		c := both()
		c.Secret, c.MutualSecret = []byte("host-secret-1"), []byte("our-secret-12")
		g.secrets(discovery, c)
	}
	unit := r.address + "/" + iqn + "/0"
	for _, c := range []struct {
		tool, url, says string
		ok              bool
	}{
		{"iscsi-inq", "web1%host-secret-1@" + unit, "DIRECT_ACCESS", true},
		{"iscsi-inq", "web1%host-secret-2@" + unit, "", false},
		{"iscsi-inq", unit, "", false},
		{"iscsi-inq", "web1%host-secret-1@" + unit + "?target_user=prod&target_password=our-secret-12", "DIRECT_ACCESS", true},
		{"iscsi-inq", "web1%host-secret-1@" + unit + "?target_user=prod&target_password=our-secret-13", "", false},
		{"iscsi-ls", "web1%host-secret-1@" + r.address, other, true},
		{"iscsi-ls", "web1%host-secret-2@" + r.address, "", false},
	} {
		tool, err := exec.LookPath(c.tool)
		if err != nil {
			t.Skipf("%s is not installed (libiscsi-bin)", c.tool)
		}
		out, err := exec.CommandContext(r.ctx, tool, "iscsi://"+c.url).CombinedOutput()
		if (err == nil) != c.ok || !strings.Contains(string(out), c.says) {
			t.Errorf("%s %s: %v\n%s", c.tool, c.url, err, out)
		}
	}
}
