//go:build lab

package hosts

import (
	"fmt"
	"strings"
)

// What iscsiadm exits with (open-iscsi's iscsi_err.h).
const (
	iscsiGood       = 0
	iscsiFatal      = 19 // of a login: not to be tried again
	iscsiNothing    = 21 // nothing was found
	iscsiAuthFailed = 24
)

// session is one that a guest is to log in to, with settings of its node record
// ("name=value") besides Debian's.
type session struct {
	portal, target string
	initiator      string // another than the guest's, if any
	settings       []string
}

// login returns what iscsiadm said and its exit code.
func (h host) login(s session) (out string, code int) {
	h.t.Helper()
	var script strings.Builder
	record := fmt.Sprintf("iscsiadm -m node -T %s -p %s", s.target, s.portal)
	if s.initiator != "" {
		fmt.Fprintf(&script, "iscsiadm -m iface -I other -o new >/dev/null 2>&1\niscsiadm -m iface -I other -o update -n iface.initiatorname -v %s\n", s.initiator)
		record += " -I other"
	}
	fmt.Fprintf(&script, "%[1]s -o delete >/dev/null 2>&1\n%[1]s -o new\n", record)
	script.WriteString(record + " -o update")
	for _, setting := range s.settings {
		name, value, _ := strings.Cut(setting, "=")
		fmt.Fprintf(&script, " -n '%s' -v '%s'", name, value)
	}
	fmt.Fprintf(&script, "\n%s --login\n", record)
	return h.try(script.String())
}

// mustLogin is login that has to succeed.
func (h host) mustLogin(s session) {
	h.t.Helper()
	if out, code := h.login(s); code != iscsiGood {
		h.t.Fatalf("login to %s at %s with %q: exit code %d\n%s", s.target, s.portal, s.settings, code, out)
	}
}

// refused is login that has to fail, with an exit code and with words.
func (h host) refused(s session, code int, words string) {
	h.t.Helper()
	if out, got := h.login(s); got != code || !strings.Contains(out, words) {
		h.t.Errorf("login to %s at %s with %q: exit code %d, want %d and %q\n%s", s.target, s.portal, s.settings, got, code, words, out)
	}
}

func (h host) logout() {
	h.t.Helper()
	h.must("iscsiadm -m node --logout && iscsiadm -m node -o delete")
}
