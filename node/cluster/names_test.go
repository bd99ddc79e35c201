package cluster

import (
	"strings"
	"testing"
)

func TestNamesAreShortAndPlain(t *testing.T) {
	r := newRig(t, 1, 1)
	for _, name := range []string{"", "-a", "A", "a_b", "a.b", "a b", "ä", "a\n", strings.Repeat("a", 40), "a/b", ":a"} {
		r.refuse(Invalid, Command{AddNode: &AddNode{Name: name, Peer: name}})
		r.refuse(Invalid, Command{CreateVolume: &CreateVolume{Name: name, Bytes: mib, Copies: 1}})
		r.refuse(Invalid, Command{AddHost: &AddHost{Name: name, IQN: "iqn.2001-04.com.example:a"}})
	}
	for _, name := range []string{"a", "0", "a-", "web-01", strings.Repeat("a", 39)} {
		r.good(Command{AddNode: &AddNode{Name: name, Peer: name}})
		r.good(Command{CreateVolume: &CreateVolume{Name: name, Bytes: mib, Copies: 1}})
		r.good(Command{AddHost: &AddHost{Name: name, IQN: "iqn.2001-04.com.example:" + name}})
	}
}

func TestInitiatorNamesAreOfAFormatOfISCSI(t *testing.T) {
	r := newRig(t, 1, 1)
	for _, iqn := range []string{"", "iqn", "iqn.", "iqn.93-08.org:a", "iqn.1993-08.", "iqn.1993-08.org.debian:", "iqn.1993-08.Org:a",
		"iqn.1993-08.org.debian:01 a", "iqn.1993-08.org:a,b", "eui.0123", "naa.012345678901234", "nqn.2014-08.org.nvmexpress:uuid:1",
		"iqn.1993-08.org:a\n", "iqn.1993-08.org:" + strings.Repeat("a", 208)} {
		r.refuse(Invalid, Command{AddHost: &AddHost{Name: "h", IQN: iqn}})
	}
	for name, iqn := range map[string]string{"a": "iqn.1993-08.org.debian:01:abcdef", "b": "iqn.1998-01.com.vmware:esx-01-5f6",
		"c": "eui.0123456789ABCDEF", "d": "naa.0123456789abcdef", "e": "iqn.1991-05.com.microsoft", "f": "iqn.1993-08.org:" + strings.Repeat("a", 207)} {
		r.good(Command{AddHost: &AddHost{Name: name, IQN: iqn}})
	}
}

func TestEachNameIsThereOnce(t *testing.T) {
	r := newRig(t, 1, 1)
	r.volume("v", 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h"}})
	r.good(Command{AddHost: &AddHost{Name: "i", IQN: "iqn.2001-04.com.example:i"}})
	r.refuse(Exists, Command{AddNode: &AddNode{Name: "n1", Peer: "else"}})
	r.refuse(Exists, Command{AddNode: &AddNode{Name: "else", Peer: node(1).Peer}})
	r.refuse(Exists, Command{AddDisk: &AddDisk{ID: disk(1), Node: 1}})
	r.refuse(Exists, Command{CreateVolume: &CreateVolume{Name: "v", Bytes: mib, Copies: 1}})
	r.refuse(Exists, Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:else"}})
	r.refuse(Exists, Command{AddHost: &AddHost{Name: "else", IQN: "iqn.2001-04.com.example:h"}})
}

// TestARefusalIsTheSameOnEveryNode: it is part of the state, so Go's random order
// of maps must not reach it, here where two hosts are in the way.
func TestARefusalIsTheSameOnEveryNode(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h"}})
	r.good(Command{AddHost: &AddHost{Name: "i", IQN: "iqn.2001-04.com.example:i"}})
	c := Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:i"}}
	_, first := r.Apply(r.Index+1, c)
	for range 100 {
		if _, again := r.Apply(r.Index+1, c); again != first {
			t.Fatalf("%+v and %+v", first, again)
		}
	}
}

func TestNumbersAreNeverGivenTwice(t *testing.T) {
	r := newRig(t, 1, 1)
	a := r.volume("v", 1, 1)
	r.good(Command{DeleteVolume: &DeleteVolume{"v"}})
	if b := r.volume("v", 1, 1); b == a {
		t.Errorf("volume %d is there again", b)
	}
}

func TestWhatIsPublishedIsNotDeleted(t *testing.T) {
	r := newRig(t, 1, 1)
	r.volume("v", 1, 1)
	r.good(Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h"}})
	export := func(volume, host string, remove bool) Command {
		return Command{SetExport: &SetExport{Volume: volume, Host: host, ReadOnly: true, Remove: remove}}
	}
	r.refuse(NotFound, export("w", "h", false))
	r.refuse(NotFound, export("v", "i", false))
	r.refuse(NotFound, export("v", "h", true))
	r.good(export("v", "h", false))
	r.refuse(Exists, export("v", "h", false))
	if e := r.VolumeNamed("v").Exports; len(e) != 1 || e[0] != (Export{Host: "h", ReadOnly: true}) {
		t.Errorf("exports are %+v", e)
	}
	r.refuse(Refused, Command{DeleteVolume: &DeleteVolume{"v"}})
	r.refuse(Refused, Command{DeleteHost: &DeleteHost{"h"}})
	r.good(export("v", "h", true))
	r.good(Command{DeleteHost: &DeleteHost{"h"}})
	r.refuse(NotFound, Command{DeleteHost: &DeleteHost{"h"}})
	r.good(Command{DeleteVolume: &DeleteVolume{"v"}})
	r.refuse(NotFound, Command{DeleteVolume: &DeleteVolume{"v"}})
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	r := newRig(t, 1, 1)
	r.refuse(NotFound, Command{Register: &Register{Node: 2}})
	r.refuse(NotFound, Command{SetVoter: &SetVoter{Node: 2, Voter: true}})
	r.refuse(NotFound, Command{AddDisk: &AddDisk{ID: "x", Node: 2}})
	r.refuse(NotFound, Command{FailDisk: &FailDisk{ID: "x"}})
}

func TestTheTargetIsNamedByClusterAndVolume(t *testing.T) {
	r := newRig(t, 1, 1)
	v := r.volume("web-01", 1, 1)
	if got := r.IQN(r.Volumes[v]); got != "iqn.2026-11.io.ashlar:lab.web-01" {
		t.Errorf("it is %s", got)
	}
}
