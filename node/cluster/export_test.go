package cluster

import "testing"

func TestANumberIsNeverAnotherVolumes(t *testing.T) {
	r := newRig(t, 1, 1)
	r.volume("v", 1, 1)
	r.volume("w", 1, 1)
	for _, h := range []string{"h", "i"} {
		r.good(Command{AddHost: &AddHost{Name: h, IQN: "iqn.2001-04.com.example:" + h}})
	}
	export := func(volume, host string, lun uint16) Command {
		return Command{SetExport: &SetExport{Volume: volume, Host: host, Numbered: true, LUN: lun}}
	}
	remove := func(volume, host string) Command {
		return Command{SetExport: &SetExport{Volume: volume, Host: host, Remove: true}}
	}
	r.refuse(Invalid, export("v", "h", LUNMax+1))
	r.refuse(Invalid, Command{SetExport: &SetExport{Volume: "v", Host: "h", LUN: 1}})
	r.good(export("v", "h", 7))
	r.refuse(Exists, export("w", "h", 7))
	r.refuse(Exists, export("v", "h", 8)) // it is published already
	r.good(export("w", "i", 7))           // another host, other numbers
	r.good(remove("v", "h"))
	r.refuse(Exists, export("w", "h", 7))
	r.good(export("v", "h", 7)) // its own again
	r.good(remove("v", "h"))
	r.good(Command{DeleteVolume: &DeleteVolume{"v"}})
	r.refuse(Exists, export("w", "h", 7))
	r.good(export("w", "h", 8))
	if e := restored(t, r.State).VolumeNamed("w").Exports; len(e) != 2 || e[1] != (Export{Host: "h", Numbered: true, LUN: 8}) {
		t.Errorf("published as %+v", e)
	}
}
