// Package require gets the programs that the scripts call.
package require

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is something to call, or the path of a file that one loads, and the
// Debian package that has it.
type Program struct{ Name, Package string }

// Fabric is what makes and breaks networks.
var Fabric = []Program{
	{"ip", "iproute2"},
	{"tc", "iproute2"},
	{"nft", "nftables"},
}

// Lab is what the lab calls.
var Lab = append([]Program{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"modprobe", "kmod"},
	{"cpio", "cpio"},
	{"xz", "xz-utils"},
	{"zstd", "zstd"},
	{"dpkg-deb", "dpkg"},
	{"apt-get", "apt"},
}, Fabric...)

// Tests is what the tests call besides.
var Tests = []Program{
	{"gcc", "gcc libc6-dev"}, // the race detector links with cgo
	{"tgtd", "tgt"},
	{"iscsi-test-cu", "libiscsi-bin"},
	{"qemu-img", "qemu-utils"},
	{"/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so", "qemu-block-extra"},
	{"git", "git"},
}

// Servers is what bare servers are made and tested with.
var Servers = []Program{
	{"debootstrap", "debootstrap"},
	{"nsenter", "util-linux"},
	{"losetup", "mount"},
	{"systemd-analyze", "systemd"},
	{"ruby", "ruby"}, // what a Vagrantfile is
}

// Building is what the tool of a newer libiscsi is built with.
var Building = []Program{
	{"gcc", "gcc libc6-dev"},
	{"apt-get", "apt"},
	{"/usr/include/CUnit/CUnit.h", "libcunit1-dev"},
}

// Programs makes sure that each can be called: as root it installs what is
// missing, else the error names it.
func Programs(wanted []Program) error {
	// Where Debian keeps daemons and administrators' tools, which a user's PATH lacks.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	var names, packages []string
	for _, p := range missing(wanted) {
		names = append(names, p.Name)
		packages = append(packages, strings.Fields(p.Package)...)
	}
	if len(names) == 0 {
		return nil
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("missing: %s (Debian: apt-get install %s)", strings.Join(names, ", "), strings.Join(packages, " "))
	}
	fmt.Fprintf(os.Stderr, "install %s\n", strings.Join(packages, " "))
	if err := errors.Join(aptGet("update"), aptGet(append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)); err != nil {
		return err
	}
	if still := missing(wanted); len(still) > 0 {
		return fmt.Errorf("missing after the installation: %v", still)
	}
	return nil
}

func missing(wanted []Program) (absent []Program) {
	for _, p := range wanted {
		_, err := exec.LookPath(p.Name)
		if filepath.IsAbs(p.Name) {
			_, err = os.Stat(p.Name)
		}
		if err != nil {
			absent = append(absent, p)
		}
	}
	return absent
}

// aptGet runs apt-get. A package's daemon (tgt has one) does not start because
// of us: that is what policy-rc.d is asked, if the machine has none of its own.
func aptGet(args ...string) error {
	const policy = "/usr/sbin/policy-rc.d"
	if _, err := os.Stat(policy); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return err
		}
		defer os.Remove(policy)
	}
	cmd := exec.Command("apt-get", append([]string{"-qq"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
