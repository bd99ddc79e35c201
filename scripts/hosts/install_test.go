//go:build lab

package hosts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
	"ashlar/scripts/internal/servers"
)

// readme are the commands of README.md's section "On three servers", by the first
// words of the comment that says where each is given.
func readme(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### On three servers\n")
	section, _, _ = strings.Cut(section, "\n`ashlar setup --dry-run`")
	commands := map[string][]string{}
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^    (\S.*?) +# on ((?:each|any|the) ?\w*)`).FindAllStringSubmatch(section, -1) {
		commands[m[2]] = append(commands[m[2]], m[1])
		n++
	}
	if n != 7 {
		t.Fatalf("README.md has %d commands for three servers, want 7: %q", n, commands)
	}
	return commands
}

// packaged is a folder with the package of the program under test, and in its folder
// "next" the same once more as a later version.
func packaged(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for version, to := range map[string]string{"0.1": dir, "0.2": filepath.Join(dir, "next")} {
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("../package", to)
		cmd.Env = append(os.Environ(), "PROGRAM="+os.Getenv(clusters.ProgramVariable), "VERSION="+version)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return dir
}

// startServer boots server k, with a spare disk, sdb.
func startServer(t *testing.T, k int, packages string) *servers.Server {
	t.Helper()
	if err := fabric.AddNode(k); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 4<<30); err != nil {
		t.Fatal(err)
	}
	loop, err := exec.Command("losetup", "--find", "--show", file).Output()
	if err != nil {
		t.Fatal("losetup: ", err)
	}
	device := strings.TrimSpace(string(loop))
	t.Cleanup(func() { exec.Command("losetup", "--detach", device).Run() })
	s, err := servers.Boot(k, t.TempDir(), packages, map[string]string{"sdb": device})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.Try("journalctl -u ashlar -o cat -n 40; systemctl status ashlar")
			t.Logf("%s:\n%s", s.Name, out)
		}
		s.Kill()
	})
	return s
}

// mustOn runs a command on a server.
func mustOn(t *testing.T, s *servers.Server, command string) string {
	t.Helper()
	begin := time.Now()
	out, code := s.Try("cd /package && " + command)
	t.Logf("%s# %s (%.1f s)\n%s", s.Name, command, time.Since(begin).Seconds(), out)
	if code != 0 {
		t.Fatalf("%s: exit code %d of %s", s.Name, code, command)
	}
	return out
}

// refusedOn runs a command that has to fail and to say why.
func refusedOn(t *testing.T, s *servers.Server, command, why string) {
	t.Helper()
	out, code := s.Try(command)
	if code == 0 || !strings.Contains(out, why) {
		t.Errorf("%s# %s: exit code %d, want %q in\n%s", s.Name, command, code, why, out)
	}
}

// Three bare Debian servers and a host follow the README, and have a mounted file
// system on a mirrored volume. What setup refuses, it refuses before anything is done.
func TestHostOnServersInstalledAsTheReadmeSays(t *testing.T) {
	commands := readme(t)
	packages := packaged(t)
	var all []*servers.Server
	for k := 1; k <= 3; k++ {
		all = append(all, startServer(t, k, packages))
	}
	first := all[0]
	begin := time.Now()
	for _, s := range all {
		mustOn(t, s, commands["each server"][0])
	}
	refusedOn(t, first, "ashlar setup --address 10.1.0.77 --cluster prod", "10.1.0.77 is no address of this machine")
	refusedOn(t, first, "ashlar setup --cluster prod", "say which")
	refusedOn(t, first, "ashlar setup --address 10.1.0.1 --cluster prod --disk /dev/null", "no block device")
	refusedOn(t, first, "ashlar setup --address 10.1.0.1 --disk /dev/sdb", "--cluster NAME or --join ADDRESS")
	refusedOn(t, first, "ashlar setup --address 10.1.0.1 --join 10.1.0.2 --cluster prod", "give one of them")
	refusedOn(t, first, "dd if=/dev/urandom of=/dev/sdb bs=4k count=1 conv=fsync 2>/dev/null && ashlar setup --address 10.1.0.1 --cluster prod --disk /dev/sdb", "holds data")
	mustOn(t, first, "dd if=/dev/zero of=/dev/sdb bs=4k count=1 conv=fsync 2>&1 && [ ! -e /etc/ashlar/node.env ]")
	if out := mustOn(t, first, commands["the first"][0]+" --dry-run"); !strings.Contains(out, "/dev/sdb") {
		t.Errorf("the plan does not tell of the disk: %s", out)
	}
	mustOn(t, first, "! systemctl is-active ashlar")
	mustOn(t, first, commands["the first"][0])
	secret := strings.TrimSpace(mustOn(t, first, commands["the first"][1]))
	for k, s := range all[1:] {
		mustOn(t, s, "umask 077 && echo "+secret+" >/root/secret")
		mustOn(t, s, strings.NewReplacer("10.1.0.2", fmt.Sprintf("10.1.0.%d", k+2), "10.2.0.2", fmt.Sprintf("10.2.0.%d", k+2)).Replace(commands["each other"][0]))
	}
	if out := mustOn(t, all[2], commands["the first"][0]+" || ashlar status"); !strings.Contains(out, "10.1.0.1 is no address") {
		t.Errorf("another server took the first's command: %s", out)
	}
	mustOn(t, first, commands["the first"][0]) // once more: all of it is done already
	mustOn(t, all[1], "export IQN="+guestIQN+" && "+commands["any"][0])
	h := startHost(t, 1)
	for _, command := range commands["the host"] {
		t.Logf("host# %s\n%s", command, h.must(strings.Replace(command, "mkfs", "until [ -b /dev/mapper/mpatha ]; do sleep .1; done; mkfs", 1)))
	}
	t.Logf("from bare servers to a mounted file system: %.0f s", time.Since(begin).Seconds())
	h.must("cp /usr/bin/fio /mnt && sync && cmp /usr/bin/fio /mnt/fio")

	// Least rights: as a user of its own, without more capabilities than addresses need.
	if who := mustOn(t, first, "ps -o user= -C ashlar | sort -u"); strings.TrimSpace(who) != "ashlar" {
		t.Errorf("the node runs as %q", who)
	}
	if caps := mustOn(t, first, "grep -E '^Cap(Eff|Bnd)' /proc/$(pidof ashlar)/status"); strings.Count(caps, "0000000000003000") != 2 {
		t.Errorf("capabilities are not CAP_NET_ADMIN and CAP_NET_RAW: %s", caps)
	}
	if open := mustOn(t, first, "find /var/lib/ashlar /etc/ashlar -perm /o+r ! -type l ! -name node.env ! -path /etc/ashlar"); open != "" {
		t.Errorf("all may read\n%s", open)
	}

	// A server loses its power; the host goes on. It is booted again, and is a node again.
	h.must("dd if=/dev/urandom of=/tmp/random bs=1M count=4 2>/dev/null && cp /tmp/random /mnt/before && sync")
	victim := all[1]
	mustOn(t, victim, "systemctl kill -s KILL ashlar")
	h.must("cp /tmp/random /mnt/after && sync && echo 3 >/proc/sys/vm/drop_caches && cmp /tmp/random /mnt/before && cmp /tmp/random /mnt/after")
	mustOn(t, victim, "for try in $(seq 100); do ashlar status -o wide | tr '\\n' ' ' | grep -q 'ready.*incarnation *2' && exit 0; sleep .2; done; ashlar status; exit 1")

	// The package goes, the data stays, and the package comes back to it.
	mustOn(t, victim, "apt-get -qq remove -y ashlar && [ -d /var/lib/ashlar ] && ! systemctl is-active ashlar")
	mustOn(t, victim, "apt-get -qq install -y ./ashlar_*_amd64.deb && systemctl enable --quiet --now ashlar")
	mustOn(t, first, "for try in $(seq 300); do ashlar cluster status -o json | grep -q '\"state\": *\"healthy\"' && exit 0; sleep .2; done; ashlar cluster status; exit 1")
	mustOn(t, first, "ashlar volume verify db")

	h.must("umount /mnt && fsck.ext4 -fn /dev/mapper/mpatha")
	refusesUpgrades(t, all)
	upgradeAll(t, all, h)
	h.must("multipath -f mpatha && iscsiadm -m node --logout")
}

// refusesUpgrades: not while another node is down, and not to what does not fit. The package that is there stays, and its node runs on.
func refusesUpgrades(t *testing.T, all []*servers.Server) {
	t.Helper()
	stays := "dpkg-query -W -f '${Version} ${db:Status-Status}' ashlar | grep -q '^0.1 installed$' && systemctl is-active ashlar"
	mustOn(t, all[2], "systemctl stop ashlar")
	refusedOn(t, all[0], "apt-get -qq install -y /package/next/ashlar_0.2_amd64.deb", "is down")
	mustOn(t, all[0], stays)
	mustOn(t, all[2], "systemctl start ashlar")
	mustOn(t, all[0], "ashlar node upgrade-check --wait 1m")
	mustOn(t, all[0], "dpkg-deb -R next/ashlar_*_amd64.deb /tmp/other && sed -i 's/state-1/state-2/' /tmp/other/DEBIAN/preinst && dpkg-deb -b /tmp/other /tmp/other.deb")
	refusedOn(t, all[0], "apt-get -qq install -y /tmp/other.deb", "that release has other formats (state-2")
	mustOn(t, all[0], stays)
}

// upgradeAll has the servers install another version, one after the other, while the host
// writes and reads back. A node hands over its heads and its hosts before it ends.
func upgradeAll(t *testing.T, all []*servers.Server, h host) {
	t.Helper()
	h.script("fio-start", fmt.Sprintf("BYTES=%d", 24<<20), fmt.Sprintf("BLOCK=%d", ioBytes))
	h.awaitIO(300, 60*time.Second)
	next := "apt-get -qq install -y ./next/ashlar_*_amd64.deb && dpkg-query -W -f '${Version}' ashlar | grep -q '^0.2$'"
	for _, s := range all { // no more is waited for between them than the package waits for
		mustOn(t, s, next)
	}
	h.awaitIO(100, 60*time.Second)
	r := h.stopFio()
	if r.errors != 0 || r.passes == 0 || r.reads != r.writes {
		t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	t.Logf("three upgrades under I/O: longest pause %v", r.pause)
	if r.pause > upgradeMax {
		t.Errorf("a pause of %v, want at most %v", r.pause, upgradeMax)
	}
}

// upgradeMax is less than the host's own timers take: it leaves a node's paths before that stops. Tenths of a second are aimed at.
const upgradeMax = fastIOFail - time.Second

// What `vagrant up` runs in its machines makes of bare servers a cluster, and of a host
// one with a multipath device; twice is as good as once.
func TestHostInAVagrantLab(t *testing.T) {
	if out, err := exec.Command("../vagrant/check").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	} else if !strings.Contains(string(out), "the Vagrantfile is Ruby") && !strings.Contains(string(out), "vagrant takes") {
		t.Errorf("the Vagrantfile was not read: %s", out)
	}
	script := func(name string) string {
		text, err := os.ReadFile("../vagrant/" + name + ".sh")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	packages := packaged(t)
	secret := ""
	var first *servers.Server
	for k := 1; k <= 3; k++ {
		s := startServer(t, k, packages)
		variables := []string{"PACKAGE=/package/ashlar_0.1_amd64.deb", fmt.Sprintf("ADDRESSES=10.1.0.%[1]d 10.2.0.%[1]d", k), "DISK=/dev/sdb"}
		if first == nil {
			first = s
			variables = append(variables, "CLUSTER=lab")
		} else {
			variables = append(variables, "FIRST=10.1.0.1", "SECRET="+secret)
		}
		for range 2 {
			if out, code := s.Try(assignments(variables) + script("node")); code != 0 {
				t.Fatalf("node.sh: exit code %d\n%s", code, out)
			}
		}
		if secret == "" {
			secret = strings.TrimSpace(mustOn(t, s, "ashlar cluster secret"))
		}
	}
	h := startHost(t, 1)
	for range 2 {
		if out, code := first.Try(assignments([]string{"VOLUME=demo", "SIZE=1G", "HOST=host", "IQN=" + guestIQN}) + script("publish")); code != 0 {
			t.Fatalf("publish.sh: exit code %d\n%s", code, out)
		}
		t.Log(h.must(script("host"), "PORTAL=10.1.0.1", fmt.Sprintf("PATHS=%d", paths)))
	}
	h.must("multipath -f mpatha && iscsiadm -m node --logout")
}

// What the unit allows the node is little (systemd.exec(5)).
func TestLabServiceIsHardened(t *testing.T) {
	unit, err := filepath.Abs("../../appliance/debian/ashlar.service")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=30", unit).CombinedOutput()
	if err != nil {
		t.Fatalf("the exposure is not below 3.0: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "Overall") {
			t.Log(line)
		}
	}
}
