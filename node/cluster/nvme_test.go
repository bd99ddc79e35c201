package cluster

import (
	"fmt"
	"strings"
	"testing"

	"ashlar/target/nvme/auth"
)

const hostNQN = "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a01"

func TestAHostHasAnIQNAnNQNOrBoth(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "both", IQN: "iqn.2001-04.com.example:both", NQN: hostNQN}})
	r.good(Command{AddHost: &AddHost{Name: "nvme", NQN: hostNQN + "2"}})
	r.good(Command{AddHost: &AddHost{Name: "iscsi", IQN: "iqn.2001-04.com.example:iscsi"}})
	r.refuse(Invalid, Command{AddHost: &AddHost{Name: "neither"}})
	r.refuse(Exists, Command{AddHost: &AddHost{Name: "again", NQN: hostNQN}})
	for _, nqn := range []string{"nqn.2014-08.org.nvmexpress", "nqn.2014-08.org.nvmexpress:a b", "iqn.2014-08.org.nvmexpress:a", hostNQN + strings.Repeat("a", 224)} {
		r.refuse(Invalid, Command{AddHost: &AddHost{Name: "bad", NQN: nqn}})
	}
	r.refuse(Exists, Command{SetNQN: &SetNQN{"iscsi", hostNQN}})
	r.refuse(Invalid, Command{SetNQN: &SetNQN{"iscsi", ""}})
	r.refuse(NotFound, Command{SetNQN: &SetNQN{"nobody", hostNQN + "3"}})
	r.good(Command{SetNQN: &SetNQN{"iscsi", hostNQN + "3"}})
	r.good(Command{SetNQN: &SetNQN{"iscsi", hostNQN + "3"}})
	r.refuse(Exists, Command{SetNQN: &SetNQN{"iscsi", hostNQN + "4"}})
	for nqn, name := range map[string]string{hostNQN: "both", hostNQN + "2": "nvme", hostNQN + "3": "iscsi"} {
		if h := restored(t, r.State).HostWithNQN(nqn); h == nil || h.Name != name {
			t.Errorf("%s is %v", nqn, h)
		}
	}
	for _, none := range []string{"", strings.ToUpper(hostNQN)} {
		if h := r.HostWithNQN(none); h != nil {
			t.Errorf("%q is %v", none, h)
		}
	}
	if h := r.HostWith(""); h != nil {
		t.Errorf("no IQN is that of %v", h)
	}
}

func TestNVMeSecretsAreWholeAndDiffer(t *testing.T) {
	secret := func(first byte, h auth.Hash) string {
		s, err := auth.NewSecret(h, append([]byte{first}, make([]byte, 31)...))
		if err != nil {
			t.Fatal(err)
		}
		return s.Text()
	}
	one, two := secret(1, auth.SHA256), secret(2, 0)
	set := func(name, host, controller string) Command {
		return Command{SetDHCHAP: &SetDHCHAP{name, DHCHAP{Host: Secret(host), Controller: Secret(controller)}}}
	}
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", NQN: hostNQN}})
	r.good(Command{AddHost: &AddHost{Name: "i", IQN: "iqn.2001-04.com.example:i"}})
	r.refuse(NotFound, set("j", one, ""))
	r.refuse(Refused, set("i", one, ""))
	for _, c := range []Command{
		set("h", "swordfish-swordfish", ""), set("h", one[:len(one)-3], ""), set("h", one, "fish"), set("h", "", one),
		set("h", one, one), set("h", one, secret(1, auth.SHA512)),
	} {
		r.refuse(Invalid, c)
	}
	r.good(set("h", one, two))
	d := restored(t, r.State).Hosts["h"].DHCHAP
	if string(d.Host) != one || string(d.Controller) != two {
		t.Error("a snapshot holds others")
	}
	for _, format := range []string{"%v", "%+v", "%s", "%#v"} {
		if text := fmt.Sprintf(format, *d) + fmt.Sprintf(format, *r.Hosts["h"]); strings.Contains(text, "DHHC") || strings.Contains(text, "68, 72, 72") || strings.Contains(text, "68 72 72") {
			t.Errorf("%s shows %s", format, text)
		}
	}
	r.good(set("h", "", ""))
	if r.Hosts["h"].DHCHAP != nil {
		t.Error("it is still there")
	}
}

// A volume that takes the name of a deleted one is another namespace in the subsystem
// of that name, and in the cluster's.
func TestNamespaceNumbersAreNeverUsedAgain(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", NQN: hostNQN}})
	publish := func() (own, numbered uint32) {
		v := r.volume("db", 1, 1)
		if n := r.Volumes[v].NSID; n != 0 {
			t.Errorf("namespace %d before it is published", n)
		}
		set := SetExport{Volume: "db", Host: "h", Numbered: true, LUN: uint16(v), Namespace: true}
		r.good(Command{SetExport: &set})
		own, numbered = r.Volumes[v].OwnNSID(), r.Volumes[v].NSID
		set.Remove = true
		r.good(Command{SetExport: &set})
		set.Remove = false
		r.good(Command{SetExport: &set})
		if n := restored(t, r.State).Volumes[v].NSID; n != numbered || n == 0 {
			t.Errorf("published again, it is %d instead of %d", n, numbered)
		}
		set.Remove = true
		r.good(Command{SetExport: &set})
		r.good(Command{DeleteVolume: &DeleteVolume{Name: "db"}})
		return own, numbered
	}
	own, numbered := publish()
	if o, n := publish(); o == own || n == numbered || o == 0 {
		t.Errorf("%d and %d, then %d and %d", own, numbered, o, n)
	}
}

// What was published with a number before its host had an NQN is a namespace from then on.
func TestAnNQNMakesNamespacesOfWhatIsPublished(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h"}})
	v := r.volume("db", 1, 1)
	r.good(Command{SetExport: &SetExport{Volume: "db", Host: "h", Numbered: true, LUN: 3}})
	if n := r.Volumes[v].NSID; n != 0 {
		t.Error("namespace", n)
	}
	r.good(Command{SetNQN: &SetNQN{"h", hostNQN}})
	if n := r.Volumes[v].NSID; n != 1 {
		t.Error("namespace", n)
	}
}

func TestTheEndOfNamespaceNumbersIsToldToNVMeHostsOnly(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "i", IQN: "iqn.2001-04.com.example:i"}})
	r.good(Command{AddHost: &AddHost{Name: "n", NQN: hostNQN}})
	s := *r.State
	s.LastNSID = NSIDMax
	r.State = &s
	v := r.volume("db", 1, 1)
	r.good(Command{SetExport: &SetExport{Volume: "db", Host: "i", Numbered: true, LUN: 3, Namespace: true}})
	r.refuse(Full, Command{SetExport: &SetExport{Volume: "db", Host: "n", Numbered: true, LUN: 3, Namespace: true}})
	if n := r.Volumes[v].NSID; n != 0 {
		t.Error("namespace", n)
	}
}

// nvme is a command about a host's other name.
func (g *chaos) nvme(host string) Command {
	nqn := fmt.Sprint("nqn.2001-04.com.example:", g.IntN(6))
	switch g.IntN(4) {
	case 0:
		return Command{AddHost: &AddHost{Name: host, NQN: nqn}}
	case 1:
		return Command{SetDHCHAP: &SetDHCHAP{Host: host}}
	case 2:
		// nvme gen-dhchap-key of some bytes
		return Command{SetDHCHAP: &SetDHCHAP{host, DHCHAP{Host: Secret("DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:")}}}
	}
	return Command{SetNQN: &SetNQN{host, nqn}}
}
