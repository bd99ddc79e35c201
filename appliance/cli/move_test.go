package cli

import (
	"testing"

	"ashlar/appliance/api"
)

func TestADiskIsNamedByIdentityPathOrNodeAndPath(t *testing.T) {
	all := []api.Disk{
		{ID: "aa11aa11", Node: "n1", Path: "/dev/sdb"}, {ID: "aa22aa22", Node: "n2", Path: "/dev/sdb"},
		{ID: "bb33bb33", Node: "n2", Path: "/dev/sdc"}, {ID: "cc44cc44", Node: "n2", Path: "/dev/sdc"}, // one that failed, in whose place there is another
	}
	for ref, want := range map[string]string{
		"aa11aa11": "aa11aa11", "aa22": "aa22aa22", "n2:/dev/sdb": "aa22aa22", "/dev/sdb": "aa11aa11", "cc44": "cc44cc44",
		"aa": "", "/dev/sdc": "", "/dev/sdx": "", "n1:/dev/sdc": "", "": "",
	} {
		if d, err := findDisk(all, ref, "n1"); d.ID != want || (err == nil) != (want != "") {
			t.Errorf("%q is disk %q, %v; want %q", ref, d.ID, err, want)
		}
	}
}
