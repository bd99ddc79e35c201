// Package guest makes virtual machines with a real Linux initiator in them:
// one of Debian's kernels, open-iscsi, multipath-tools, nvme-cli and fio. A guest
// is built and booted once, saved, and from then on resumed in under a second.
package guest

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org"
)

// Kernel is which of Debian's kernels a guest has. It is the full one: the cloud
// kernel lacks scsi_dh_alua.
type Kernel string

const (
	Stable    Kernel = "stable"    // 6.1
	Backports Kernel = "backports" // 6.12 or newer, which has DH-HMAC-CHAP for NVMe
)

// KernelVariable of the environment names the kernel of a lab's guests.
const KernelVariable = "ASHLAR_LAB_KERNEL"

// ParseKernel reads a kernel's name; none is Stable.
func ParseKernel(name string) (Kernel, error) {
	switch k := Kernel(name); k {
	case "":
		return Stable, nil
	case Stable, Backports:
		return k, nil
	}
	return "", fmt.Errorf("%q is no kernel: there are %s and %s", name, Stable, Backports)
}

// pkg is its package, as apt-get wants to have it.
func (k Kernel) pkg() string {
	if k == Backports {
		return "linux-image-amd64/" + suite + "-backports"
	}
	return "linux-image-amd64"
}

// packages of the guest's root, but for the kernel.
var packages = []string{
	"busybox-static", "dash", "coreutils", "util-linux", "mount", "udev", "kmod", "iproute2",
	"open-iscsi", "multipath-tools", "nvme-cli", "sg3-utils", "lsscsi", "e2fsprogs", "fio",
	"python3-minimal", "python3-pexpect", "python3-pycurl", // for the fence agent
}

// fencePackage has the agent that clusters of hosts fence each other with. It
// depends on the libraries of every cloud there is, so it is fetched without
// what it depends on, and only fenceFiles of it are unpacked.
const fencePackage = "fence-agents"

var fenceFiles = []string{"./usr/sbin/fence_scsi", "./usr/share/fence/fencing.py"}

// modulesAtBoot are loaded before the guest is saved; spareModules are there for
// a script to load.
var (
	modulesAtBoot = []string{
		"virtio_pci", "virtio_net", "sd_mod", "sg", "scsi_dh_alua", "iscsi_tcp", "nvme_tcp", "dm_multipath",
		"dm_round_robin", "dm_queue_length", "dm_service_time", "ext4", "crc32c_intel", "configfs",
	}
	spareModules = []string{"dh_generic", "loop", "null_blk", "scsi_debug", "xfs", "nvmet", "nvmet_tcp", "target_core_mod", "iscsi_target_mod"}
)

// kernelArguments leave out what costs an emulated boot seconds and a test guest
// can do without.
const kernelArguments = "console=ttyS0 quiet panic=-1 net.ifnames=0 rodata=off mitigations=off cryptomgr.notests"

// arguments are the kernel's. With the newer one, emulated, fio crashed in every other run, of a heap that was not as it
// had left it, and in none without XSAVE, without which nobody uses AVX.
func (k Kernel) arguments() string {
	if k == Backports {
		return kernelArguments + " noxsave"
	}
	return kernelArguments
}

//go:embed recipe.go build.go boot.go machine.go root
var sources embed.FS

// cacheDir is where saved guests are kept: $ASHLAR_LAB_CACHE, or ashlar-lab in
// the user's cache directory.
func cacheDir() (string, error) {
	if dir := os.Getenv("ASHLAR_LAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "ashlar-lab"), err
}

// savedDir is the directory of the saved guest that this recipe makes with a kernel and this
// QEMU. Any difference in either is another directory, because a machine's state
// can be loaded only into the very same machine.
func savedDir(k Kernel) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	version, err := exec.Command("qemu-system-x86_64", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("qemu-system-x86_64 --version: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n%s\n", k, version, strings.Join(accelerator(), " "))
	err = fs.WalkDir(sources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := sources.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(data), data)
		return err
	})
	return filepath.Join(cache, hex.EncodeToString(sum.Sum(nil))[:16]), err
}
