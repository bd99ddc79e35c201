package hostside

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Names with which targets and subsystems of this product begin.
const (
	iqnPrefix = "iqn.2026-11.io.ashlar:"
	nqnPrefix = "nqn.2026-11.io.ashlar:"
)

// Facts are what a host says of itself. Times are in seconds; empty text is unknown.
type Facts struct {
	Sessions        []Session
	Multipathd      bool // runs
	Devices         []Device
	Controllers     []Controller
	NativeMultipath string // of NVMe: "Y" or "N"
}

// Session is one of iSCSI, over one path (sysfs: class/iscsi_session, class/iscsi_connection).
type Session struct {
	Target, Portal string
	RecoveryTmo    string // before I/O fails over: multipathd's fast_io_fail_tmo, else replacement_timeout
	NoopInterval   string
	NoopTimeout    string
}

// Device is one of multipath (multipathd show maps raw format).
type Device struct {
	Name, Vendor, Queueing string // Queueing: "on", "off", a number of retries, or "-"
	Paths                  int
}

// Controller is a host's end of a connection of NVMe/TCP (sysfs: class/nvme).
type Controller struct {
	Name, Subsystem, Address                        string
	KeepAlive, ReconnectDelay, CtrlLoss, FastIOFail string
}

// Finding is a setting that would hurt.
type Finding struct {
	Where string `json:"where"`
	Is    string `json:"is"`
	Want  string `json:"want"`
	Why   string `json:"why"`
	Fix   string `json:"fix"`
}

// Limits, seconds.
const (
	failoverMax  = 10 // a host with other paths has to leave a dead one by then
	noopMax      = 5  // of interval and timeout each: a silent node is found by them alone
	keepAliveMax = 5
	reconnectMax = 5
	ctrlLossMin  = 600
)

// Check finds what would make I/O fail, or wait for longer than it has to.
func Check(f Facts) []Finding {
	found := []Finding{}
	add := func(where, is, want, why, fix string) {
		n := Finding{where, is, want, why, fix}
		if !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	paths := map[string]int{}
	for _, s := range f.Sessions {
		if strings.HasPrefix(s.Target, iqnPrefix) {
			paths[s.Target]++
		}
	}
	for _, s := range f.Sessions {
		if !strings.HasPrefix(s.Target, iqnPrefix) {
			continue
		}
		where := s.Target + " through " + s.Portal
		many := paths[s.Target] > 1
		switch {
		case many && !f.Multipathd:
			add(s.Target, fmt.Sprintf("%d paths, no multipathd", paths[s.Target]), "multipathd runs",
				"the paths are separate disks, and each fails with its node", "apt-get install multipath-tools, and use `ashlar host settings`")
		case many && over(s.RecoveryTmo, failoverMax):
			add(where, "fails I/O over after "+s.RecoveryTmo+" s", "5 s", "I/O waits that long for a dead node while other paths are there",
				"fast_io_fail_tmo 5 in multipath.conf (`ashlar host settings`), or node.session.timeo.replacement_timeout = 5 in iscsid.conf")
		case !many && !over(s.RecoveryTmo, 59) && s.RecoveryTmo != "-1":
			add(where, "fails I/O after "+s.RecoveryTmo+" s", "120 s", "it is the only path: I/O fails while a portal address moves or a node starts",
				"log in at other portals, too, or node.session.timeo.replacement_timeout = 120 in iscsid.conf")
		}
		if over(s.NoopInterval, noopMax) || s.NoopInterval == "0" {
			add(where, "asks every "+s.NoopInterval+" s whether the node is there", "2 s", "a node that is silent is found by these questions alone",
				"node.conn[0].timeo.noop_out_interval = 2 in iscsid.conf, then log in again")
		}
		if over(s.NoopTimeout, noopMax) || s.NoopTimeout == "0" {
			add(where, "waits "+s.NoopTimeout+" s for the answer", "3 s", "a node that is silent is found by these questions alone",
				"node.conn[0].timeo.noop_out_timeout = 3 in iscsid.conf, then log in again")
		}
	}
	for _, d := range f.Devices {
		if d.Vendor != "ASHLAR" {
			continue
		}
		if d.Queueing == "off" || d.Queueing == "-" {
			add(d.Name, "fails I/O when no path is left", "queues it", "all nodes may be away for a moment, as after a power cut",
				"no_path_retry queue in multipath.conf (`ashlar host settings`)")
		}
		if d.Paths < 2 {
			add(d.Name, fmt.Sprintf("%d path", d.Paths), "one through each node", "it is gone with its node", "iscsiadm -m node --login")
		}
	}
	for _, c := range f.Controllers {
		if !strings.HasPrefix(c.Subsystem, nqnPrefix) {
			continue
		}
		where := c.Name + " (" + c.Address + ")"
		if f.NativeMultipath == "N" {
			add("nvme_core", "multipath is off", "on", "the paths are separate disks, and each fails with its node", "nvme_core.multipath=Y on the kernel's command line")
		}
		if over(c.KeepAlive, keepAliveMax) || c.KeepAlive == "0" {
			add(where, "keep-alive "+c.KeepAlive+" s", "3 s", "a node that is silent is found by it", "connect with --keep-alive-tmo=3")
		}
		if over(c.ReconnectDelay, reconnectMax) {
			add(where, "tries again every "+c.ReconnectDelay+" s", "1 s", "the path is away for longer than its node", "connect with --reconnect-delay=1")
		}
		if n, err := strconv.Atoi(c.CtrlLoss); err == nil && n >= 0 && n < ctrlLossMin {
			add(where, "gives a portal up after "+c.CtrlLoss+" s", "600 s or off", "the path is gone for good then, also when its node comes back", "connect with --ctrl-loss-tmo=600")
		}
		if n, err := strconv.Atoi(c.FastIOFail); err == nil && n >= 0 {
			add(where, "fails I/O after "+c.FastIOFail+" s without a path", "off", "all nodes may be away for a moment, as after a power cut", "connect without --fast_io_fail_tmo")
		}
	}
	return found
}

// over says whether a number of seconds is known and above a limit.
func over(text string, limit int) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > limit
}

// Settings are those of hosts that suit the product: of multipath.conf(5) and iscsid.conf.
const Settings = `# /etc/multipath/conf.d/ashlar.conf
devices {
	device {
		vendor "ASHLAR"
		product "Volume"
		path_grouping_policy group_by_prio
		prio alua
		failback immediate
		path_checker tur
		no_path_retry queue
		fast_io_fail_tmo 5
	}
}

# /etc/iscsi/iscsid.conf
# node.conn[0].timeo.noop_out_interval = 2
# node.conn[0].timeo.noop_out_timeout = 3
# node.session.timeo.replacement_timeout = 120     (multipathd sets 5 where it has the disk)

# NVMe/TCP
# nvme connect-all -t tcp -a PORTAL --keep-alive-tmo=3 --reconnect-delay=1 --ctrl-loss-tmo=600
`
