//go:build lab

package hosts

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"ashlar/scripts/internal/clusters"
)

// give copies a file of this machine to the guest.
func (h host) give(from, to string) {
	h.t.Helper()
	l, err := net.Listen("tcp", "10.1.0.254:9999")
	if err != nil {
		h.t.Fatal(err)
	}
	defer l.Close()
	sent := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			sent <- err
			return
		}
		defer c.Close()
		f, err := os.Open(from)
		if err == nil {
			defer f.Close()
			_, err = io.Copy(c, f)
		}
		sent <- err
	}()
	h.must("nc 10.1.0.254 9999 </dev/null >" + to + " && chmod 755 " + to)
	if err := <-sent; err != nil {
		h.t.Fatal(err)
	}
}

// The command line on a host connects it, with either protocol, and finds what would hurt.
func TestHostConnectsAndChecksItself(t *testing.T) {
	c := startCluster(t)
	n := c.Nodes[0]
	n.Must("volume", "create", "db", "--size", "16M", "--copies", "2")
	n.Must("volume", "create", "log", "--size", "16M", "--copies", "2")
	n.Must("host", "add", "linux", guestIQN, "--nqn", guestNQN)
	h := startHost(t, 1)
	h.give(os.Getenv(clusters.ProgramVariable), "/usr/bin/ashlar")
	fails := func(command, why string) {
		t.Helper()
		if out, code := h.try(command); code == 0 || !strings.Contains(out, why) {
			t.Errorf("%s: exit code %d, want %q in\n%s", command, code, why, out)
		}
	}
	says := func(command, what string) {
		t.Helper()
		if out := h.must(command); !strings.Contains(out, what) {
			t.Errorf("%s: want %q in\n%s", command, what, out)
		}
	}
	says("ashlar host check", "no session and no controller")
	fails("ashlar host connect db --portal 10.1.0.1 2>&1", "publishes nothing to this host")
	n.Must("export", "add", "db", "linux")
	n.Must("export", "add", "log", "linux")
	fails("ashlar host connect nothing --portal 10.1.0.1 2>&1", "but lab.db, lab.log")
	fails("ashlar host connect db 2>&1", "portal")

	says("ashlar host connect db --portal 10.2.0.3", "db is /dev/mapper/mpatha, with paths through 6 portals")
	says("ashlar host connect db --portal 10.2.0.3", "db is /dev/mapper/mpatha") // once more
	h.must("dd if=/dev/urandom of=/dev/mapper/mpatha bs=64K count=16 oflag=direct 2>&1")
	says("ashlar host check", "Nothing of 6 sessions, 1 multipath devices")
	h.must("for s in /sys/class/iscsi_session/session*; do echo 120 >$s/recovery_tmo; done")
	fails("ashlar host check 2>&1", "fast_io_fail_tmo 5")
	fails("ashlar host check -o json 2>&1", `"want": "5 s"`)
	h.must("multipathd shutdown; for try in $(seq 50); do pidof multipathd || break; sleep .1; done")
	fails("ashlar host check 2>&1", "apt-get install multipath-tools")
	h.must("multipathd; until multipathd show daemon | grep -q idle; do sleep .1; done; multipath -f mpatha; iscsiadm -m node --logout")

	says("ashlar host connect log --nvme --portal 10.1.0.2", "log is /dev/nvme")
	says("ashlar host check", "and 6 controllers would hurt")
	h.must("nvme disconnect-all && nvme connect-all -t tcp -a 10.1.0.1 --keep-alive-tmo=30")
	fails("ashlar host check 2>&1", "connect with --keep-alive-tmo=3")
	h.must("nvme disconnect-all")
}
