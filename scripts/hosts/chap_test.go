//go:build lab

package hosts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ashlar/scripts/internal/clusters"
)

// Secrets of 12 to 16 bytes, as Windows wants them.
const (
	chapSecret = "proof-of-host"
	chapMutual = "proof-of-lab-1"
)

// at is a session of the host through a node.
func (o *one) at(n *clusters.Node, settings ...string) session {
	return session{portal: n.Addresses[0], target: o.target, settings: settings}
}

// unattended is one that looks for no units, because it ends at once.
func (o *one) unattended(settings ...string) session {
	return o.at(o.far, append(settings, "node.session.scan=manual")...)
}

// stranger is a host that nothing is published to: it finds no target, and there
// is none by the name that it knows.
func (o *one) stranger() {
	discover := func(portal, args string) (string, int) {
		return o.try(fmt.Sprintf("iscsiadm -m discovery -t sendtargets -o nonpersistent -p %s %s", portal, args))
	}
	s := o.unattended()
	s.initiator = "iqn.2026-01.lab.host:stranger"
	o.refused(s, iscsiFatal, "non-retryable iSCSI login failure")
	for _, n := range o.c.Nodes {
		if out, code := discover(n.Addresses[1], "-I other"); code != iscsiNothing || strings.Contains(out, "iqn.") {
			o.t.Errorf("a stranger discovers at %s, with exit code %d: %s", n.Name, code, out)
		}
		if out, code := discover(n.Addresses[1], "-I default"); code != iscsiGood || strings.Count(out, o.target+"\n") != 2*len(o.c.Nodes) {
			o.t.Errorf("the host discovers at %s, with exit code %d: %s", n.Name, code, out)
		}
	}
	o.must("iscsiadm -m node -o delete && iscsiadm -m iface -I other -o delete")
}

// chap is what the host has to prove (RFC 7143 12.1.3), and what we have to.
func (o *one) chap() {
	o.mustLogin(o.unattended())
	o.logout()
	setCHAP(o.t, o.near, "linux", chapSecret, chapMutual)

	const refusal = "authorization failure"
	o.refused(o.unattended(), iscsiAuthFailed, refusal)
	o.refused(o.unattended(auth(guestIQN, "another secret")...), iscsiAuthFailed, refusal)
	o.refused(o.unattended(auth("somebody else", chapSecret)...), iscsiAuthFailed, refusal)
	for _, algorithm := range []string{"MD5", "SHA1", "SHA256", "SHA3-256"} {
		o.mustLogin(o.unattended(append(auth(guestIQN, chapSecret), "node.session.auth.chap_algs="+algorithm)...))
		o.logout()
	}
	o.mustLogin(o.unattended(mutual("lab", chapMutual)...))
	o.logout()
	// This one is refused by the host.
	o.refused(o.unattended(mutual("lab", "another secret")...), iscsiFatal, "non-retryable iSCSI login failure")

	if out, code := o.try("iscsiadm -m discovery -t sendtargets -p " + o.far.Addresses[0]); code != iscsiAuthFailed || strings.Contains(out, "iqn.") {
		o.t.Errorf("discovery without a secret, with exit code %d: %s", code, out)
	}
}

// setCHAP gives a host its secrets.
func setCHAP(t *testing.T, n *clusters.Node, host, secret, mutual string) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	n.Must("host", "chap", host, "--secret-file", file("secret", secret), "--mutual-secret-file", file("mutual", mutual))
}

// auth are the settings of a host that proves who it is.
func auth(user, secret string) []string {
	return []string{"node.session.auth.authmethod=CHAP", "node.session.auth.username=" + user, "node.session.auth.password=" + secret}
}

// mutual are those of one that wants us to as well.
func mutual(user, secret string) []string {
	return append(auth(guestIQN, chapSecret), "node.session.auth.chap_algs=SHA3-256,SHA256",
		"node.session.auth.username_in="+user, "node.session.auth.password_in="+secret)
}
