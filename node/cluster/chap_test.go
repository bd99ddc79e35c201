package cluster

import (
	"fmt"
	"strings"
	"testing"
)

func TestSecretsAreLongEnoughAndDiffer(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h"}})
	set := func(host, secret, mutual string) Command {
		return Command{SetCHAP: &SetCHAP{Host: host, CHAP: CHAP{Secret: Secret(secret), Mutual: Secret(mutual)}}}
	}
	r.refuse(NotFound, set("i", "twelve bytes", ""))
	for _, c := range []Command{
		set("h", "eleven byte", ""), set("h", strings.Repeat("a", 101), ""), set("h", "twelve bytes", "eleven byte"),
		set("h", "twelve bytes", "twelve bytes"), set("h", "", "twelve bytes"),
	} {
		r.refuse(Invalid, c)
	}
	r.good(set("h", "twelve bytes", strings.Repeat("a", 100)))
	if c := restored(t, r.State).Hosts["h"].CHAP; string(c.Secret) != "twelve bytes" || len(c.Mutual) != 100 {
		t.Errorf("a snapshot holds %q and %d bytes", []byte(c.Secret), len(c.Mutual))
	}
	r.good(set("h", "", ""))
	if r.Hosts["h"].CHAP != nil {
		t.Error("it is still there")
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	c := Command{SetCHAP: &SetCHAP{Host: "h", CHAP: CHAP{Secret: Secret("swordfish-swordfish"), Mutual: Secret("fishsword-fishsword")}}}
	h := Host{Name: "h", CHAP: &c.SetCHAP.CHAP}
	for _, format := range []string{"%v", "%+v", "%s", "%#v"} {
		for _, v := range []any{*c.SetCHAP, c.SetCHAP.CHAP, *h.CHAP, h.CHAP.Secret} {
			if text := fmt.Sprintf(format, v); strings.Contains(text, "fish") || strings.Contains(text, "102") || strings.Contains(text, "0x66") {
				t.Errorf("%s shows %s", format, text)
			}
		}
	}
}

func TestNamesOfInitiatorsAreComparedWithoutCase(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", IQN: "naa.0123456789ABCDEF"}})
	r.refuse(Exists, Command{AddHost: &AddHost{Name: "i", IQN: "naa.0123456789abcdef"}})
	if h := r.HostWith("NAA.0123456789abcdef"); h == nil || h.Name != "h" {
		t.Errorf("found %v", h)
	}
}
