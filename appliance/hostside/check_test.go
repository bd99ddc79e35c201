package hostside

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// good is a host with nothing to complain about, over both protocols.
func good() Facts {
	f := Facts{Multipathd: true, NativeMultipath: "Y",
		Devices:     []Device{{Name: "mpatha", Vendor: "ASHLAR", Queueing: "on", Paths: 2}, {Name: "mpathb", Vendor: "OTHER", Queueing: "off", Paths: 1}},
		Controllers: []Controller{{Name: "nvme0", Subsystem: nqnPrefix + "prod.db", Address: "10.1.0.1", KeepAlive: "3", ReconnectDelay: "1", CtrlLoss: "off", FastIOFail: "off"}}}
	for _, portal := range []string{"10.1.0.1:3260", "10.1.0.2:3260"} {
		f.Sessions = append(f.Sessions, Session{Target: iqnPrefix + "prod.db", Portal: portal, RecoveryTmo: "5", NoopInterval: "2", NoopTimeout: "3"})
	}
	return f
}

func TestOnlyWhatHurtsIsFound(t *testing.T) {
	if found := Check(good()); len(found) != 0 {
		t.Errorf("a good host: %+v", found)
	}
	for want, change := range map[string]func(*Facts){
		"multipathd runs":                  func(f *Facts) { f.Multipathd = false },
		"fails I/O over after 120 s":       func(f *Facts) { f.Sessions[1].RecoveryTmo = "120" },
		"it is the only path":              func(f *Facts) { f.Sessions = f.Sessions[:1] },
		"asks every 0 s":                   func(f *Facts) { f.Sessions[0].NoopInterval = "0" },
		"waits 30 s for the answer":        func(f *Facts) { f.Sessions[0].NoopTimeout = "30" },
		"fails I/O when no path is left":   func(f *Facts) { f.Devices[0].Queueing = "off" },
		"1 path":                           func(f *Facts) { f.Devices[0].Paths = 1 },
		"multipath is off":                 func(f *Facts) { f.NativeMultipath = "N" },
		"keep-alive 30 s":                  func(f *Facts) { f.Controllers[0].KeepAlive = "30" },
		"tries again every 10 s":           func(f *Facts) { f.Controllers[0].ReconnectDelay = "10" },
		"gives a portal up after 30 s":     func(f *Facts) { f.Controllers[0].CtrlLoss = "30" },
		"fails I/O after 5 s without a pa": func(f *Facts) { f.Controllers[0].FastIOFail = "5" },
	} {
		f := good()
		change(&f)
		found := Check(f)
		if !slices.ContainsFunc(found, func(n Finding) bool { return strings.Contains(n.Is+" "+n.Want+" "+n.Why, want) && n.Fix != "" }) {
			t.Errorf("%q is not among %+v", want, found)
		}
	}
}

func TestOtherVendorsAreNoneOfOurBusiness(t *testing.T) {
	f := Facts{Sessions: []Session{{Target: "iqn.2001-04.com.example:x", RecoveryTmo: "120", NoopInterval: "0"}},
		Controllers: []Controller{{Subsystem: "nqn.2014-08.com.example:x", KeepAlive: "60"}}, NativeMultipath: "N"}
	if found := Check(f); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

// files makes a tree of files out of names and texts.
func files(t *testing.T, all map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range all {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTheKernelsValuesAreRead(t *testing.T) {
	root := files(t, map[string]string{
		"sys/class/iscsi_session/session7/targetname":                 iqnPrefix + "prod.db",
		"sys/class/iscsi_session/session7/recovery_tmo":               "5",
		"sys/class/iscsi_connection/connection7:0/persistent_address": "10.1.0.1",
		"sys/class/iscsi_connection/connection7:0/persistent_port":    "3260",
		"sys/class/iscsi_connection/connection7:0/recv_tmo":           "2",
		"sys/class/iscsi_connection/connection7:0/ping_tmo":           "3",
		"sys/class/nvme/nvme0/transport":                              "pcie",
		"sys/class/nvme/nvme1/transport":                              "tcp",
		"sys/class/nvme/nvme1/subsysnqn":                              nqnPrefix + "prod.db",
		"sys/class/nvme/nvme1/kato":                                   "5",
		"sys/class/nvme/nvme1/reconnect_delay":                        "10",
		"sys/class/nvme/nvme1/ctrl_loss_tmo":                          "600",
		"sys/class/nvme/nvme1/fast_io_fail_tmo":                       "off",
		"sys/class/nvme/nvme1/address":                                "traddr=10.1.0.1,trsvcid=4420,src_addr=10.1.0.9",
		"sys/module/nvme_core/parameters/multipath":                   "Y",
		"sys/class/iscsi_session/session8/targetname":                 "iqn.2001-04.com.example:x",
		"sys/class/iscsi_connection/connection8:0/persistent_address": "10.9.0.1",
		"sys/class/iscsi_connection/connection8:0/persistent_port":    "3260",
	})
	f := Look(t.Context(), root)
	want := Facts{NativeMultipath: "Y",
		Sessions: []Session{{Target: iqnPrefix + "prod.db", Portal: "10.1.0.1:3260", RecoveryTmo: "5", NoopInterval: "2", NoopTimeout: "3"},
			{Target: "iqn.2001-04.com.example:x", Portal: "10.9.0.1:3260"}},
		Controllers: []Controller{{Name: "nvme1", Subsystem: nqnPrefix + "prod.db", Address: "10.1.0.1", KeepAlive: "5", ReconnectDelay: "10", CtrlLoss: "600", FastIOFail: "off"}}}
	f.Multipathd, f.Devices = false, nil // of this machine
	if !reflect.DeepEqual(f, want) {
		t.Errorf("read\n%+v\nwant\n%+v", f, want)
	}
}

func TestMapsOfMultipathdAreRead(t *testing.T) {
	got := devices("mpatha|ASHLAR|on|6\nmpathb|IET     |12 chk|1\n\nnonsense\n")
	want := []Device{{"mpatha", "ASHLAR", "on", 6}, {"mpathb", "IET", "12 chk", 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAVolumeIsFoundByTheEndOfItsName(t *testing.T) {
	all := targets("10.1.0.1:3260,1 iqn.2026-11.io.ashlar:prod.db\n10.1.0.2:3260,2 iqn.2026-11.io.ashlar:prod.db\n" +
		"[fd00::1]:3260,1 iqn.2026-11.io.ashlar:prod.a.db\n10.1.0.1:3260,1 iqn.2026-11.io.ashlar:prod\n")
	for volume, want := range map[string]string{"db": "iqn.2026-11.io.ashlar:prod.db", "a.db": "iqn.2026-11.io.ashlar:prod.a.db"} {
		c, err := choose(all, volume, "10.1.0.1")
		if err != nil || c.Name != want {
			t.Errorf("%q: %+v, %v", volume, c, err)
		}
	}
	if c, _ := choose(all, "db", "x"); len(c.Paths) != 2 {
		t.Errorf("the paths are %q", c.Paths)
	}
	if _, err := choose(all, "nothing", "10.1.0.1"); err == nil || !strings.Contains(err.Error(), "but prod, prod.a.db, prod.db") {
		t.Errorf("of a volume that is not there: %v", err)
	}
	if _, err := choose(nil, "db", "10.1.0.1"); err == nil || !strings.Contains(err.Error(), "publishes nothing") {
		t.Errorf("of a host that has none: %v", err)
	}
	log, err := subsystems([]byte(`{"genctr":3,"records":[{"trtype":"tcp","subnqn":"nqn.2026-11.io.ashlar:prod.db","traddr":"10.1.0.1","trsvcid":"4420"},
		{"subnqn":"nqn.2014-08.org.nvmexpress.discovery","traddr":"10.1.0.1","trsvcid":"8009"}]}`))
	if err != nil || !reflect.DeepEqual(log, map[string][]string{"nqn.2026-11.io.ashlar:prod.db": {"10.1.0.1 4420"}}) {
		t.Errorf("of a discovery log page: %v, %v", log, err)
	}
}
