package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const unfinishedSuffix = ".building"

// EnsureBuilt returns the directory of the saved guest with a kernel, building it first if
// need be: half a minute, and about 460 MB. boot is a command that calls Boot in a network of
// its own; log says what goes on.
func EnsureBuilt(k Kernel, boot func(dir string) *exec.Cmd, log func(string)) (string, error) {
	dir, err := savedDir(k)
	if err != nil {
		return "", err
	}
	cache := filepath.Dir(dir)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// What is there of unfinished ones was left behind: the lock is ours.
	unfinished, err := filepath.Glob(filepath.Join(cache, "*"+unfinishedSuffix))
	if err != nil {
		return "", err
	}
	for _, left := range unfinished {
		if err := os.RemoveAll(left); err != nil {
			return "", err
		}
	}
	work := dir + unfinishedSuffix
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	b := &builder{dir: work, log: log, which: k}
	for _, step := range []func() error{b.download, b.unpack, b.kernel, b.modules, b.root, b.initrd} {
		if err := step(); err != nil {
			return "", fmt.Errorf("building the guest in %s: %w", work, err)
		}
	}
	log("boot and save")
	if err := run(boot(work)); err != nil {
		console, _ := os.ReadFile(filepath.Join(work, "console"))
		return "", fmt.Errorf("booting the guest: %w\n%s", err, tail(console))
	}
	if err := b.clean(); err != nil {
		return "", err
	}
	if err := os.Rename(work, dir); err != nil {
		return "", err
	}
	return dir, removeOthers(cache, dir)
}

// lock holds back other builders until the returned function is called.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// removeOthers drops saved guests that nobody resumed for a week.
func removeOthers(cache, keep string) error {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(cache, entry.Name())
		info, err := os.Stat(filepath.Join(path, "state"))
		if path == keep || err != nil || time.Since(info.ModTime()) < 7*24*time.Hour {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

type builder struct {
	dir     string
	log     func(string)
	which   Kernel
	version string // of the kernel, as in /lib/modules
}

func (b *builder) path(name string) string { return filepath.Join(b.dir, name) }

// download fetches the packages and all they depend on. With a state of its own
// apt believes that nothing is installed, needs no root, and leaves the
// machine's state alone.
func (b *builder) download() error {
	wanted := append([]string{b.which.pkg()}, packages...)
	b.log("download " + strings.Join(wanted, " "))
	apt := b.path("apt")
	for _, dir := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(apt, dir), 0o755); err != nil {
			return err
		}
	}
	sources := fmt.Sprintf("deb %[1]s/debian %[2]s main\ndeb %[1]s/debian-security %[2]s-security main\n", mirror, suite)
	if b.which == Backports {
		sources += fmt.Sprintf("deb %s/debian %s-backports main\n", mirror, suite)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(apt, "status"), nil, 0o644),
		os.WriteFile(filepath.Join(apt, "sources"), []byte(sources), 0o644)); err != nil {
		return err
	}
	who, err := exec.Command("id", "-un").Output()
	if err != nil {
		return err
	}
	options := []string{
		"-qq", "-o", "Dir::Etc::SourceList=" + apt + "/sources", "-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State=" + apt, "-o", "Dir::State::status=" + apt + "/status", "-o", "Dir::Cache=" + apt,
		"-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User=" + strings.TrimSpace(string(who)),
	}
	if err := run(exec.Command("apt-get", append(options, "update")...)); err != nil {
		return err
	}
	alone := exec.Command("apt-get", append(slices.Clone(options), "download", fencePackage)...)
	alone.Dir = filepath.Join(apt, "archives")
	install := append(slices.Clone(options), "-y", "--no-install-recommends", "--download-only", "install")
	return errors.Join(run(alone), run(exec.Command("apt-get", append(install, wanted...)...)))
}

// useless are packages that dependencies name and a guest never calls.
var useless = regexp.MustCompile(`^(linux-image-amd64|dpkg|perl.*|libperl.*|initramfs.*|.*klibc.*)_`)

var (
	kernelPackage = regexp.MustCompile(`^linux-image-[0-9]`)
	agentPackage  = regexp.MustCompile(`^` + fencePackage + `_`)
)

// unpack puts the kernel under kernel/ and all other packages under root/.
func (b *builder) unpack() error {
	b.log("unpack")
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(b.path("root/usr/"+dir), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+dir, b.path("root/"+dir)); err != nil {
			return err
		}
	}
	debs, err := filepath.Glob(b.path("apt/archives/*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		name := filepath.Base(deb)
		switch {
		case kernelPackage.MatchString(name):
			err = run(exec.Command("dpkg-deb", "-x", deb, b.path("kernel")))
		case agentPackage.MatchString(name):
			err = unpackInto(deb, b.path("root"), fenceFiles...)
		case useless.MatchString(name):
		default:
			err = unpackInto(deb, b.path("root"), "--exclude=./usr/share/*", "--exclude=*/gconv/*", "--exclude=*/hwdb*")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unpackInto unpacks the members of a package that further arguments of tar pick.
func unpackInto(deb, dir string, pick ...string) error {
	from := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
	to := exec.Command("tar", append([]string{"-x", "-C", dir, "--keep-directory-symlink"}, pick...)...)
	pipe, err := from.StdoutPipe()
	if err != nil {
		return err
	}
	to.Stdin = pipe
	if err := from.Start(); err != nil {
		return err
	}
	return errors.Join(run(to), from.Wait())
}

// kernel takes the ELF image out of vmlinuz. It boots through PVH, which spares
// an emulated machine the unpacking.
func (b *builder) kernel() error {
	images, err := filepath.Glob(b.path("kernel/boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return fmt.Errorf("want one kernel, have %v: %w", images, err)
	}
	b.version = strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	b.log("kernel " + b.version)
	packed, err := os.ReadFile(images[0])
	if err != nil {
		return err
	}
	for _, x := range []struct{ magic, program string }{{"\xfd7zXZ\x00", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}} {
		start := bytes.Index(packed, []byte(x.magic))
		if start < 0 {
			continue
		}
		// They complain of what follows the stream, after they have written all of it.
		unpack := exec.Command(x.program, "-dcq")
		unpack.Stdin = bytes.NewReader(packed[start:])
		if elf, _ := unpack.Output(); bytes.HasPrefix(elf, []byte("\x7fELF")) {
			return os.WriteFile(b.path("vmlinux"), elf, 0o644)
		}
	}
	return fmt.Errorf("%s: no ELF image in it, packed by xz or zstd", images[0])
}

// modules copies the listed modules and what they depend on into the root.
func (b *builder) modules() error {
	from := "kernel/lib/modules/" + b.version
	to := "root/lib/modules/" + b.version
	if err := run(exec.Command("depmod", "-b", b.path("kernel"), b.version)); err != nil {
		return err
	}
	files := map[string]bool{"modules.builtin": true, "modules.builtin.modinfo": true, "modules.order": true}
	for _, module := range append(append([]string{}, modulesAtBoot...), spareModules...) {
		out, err := exec.Command("modprobe", "-d", b.path("kernel"), "-S", b.version, "-D", module).Output()
		if err != nil {
			return fmt.Errorf("modprobe -D %s: %w", module, err)
		}
		for _, word := range strings.Fields(string(out)) {
			if _, name, found := strings.Cut(word, "/"+b.version+"/"); found {
				files[name] = true
			}
		}
	}
	for name := range files {
		data, err := os.ReadFile(b.path(filepath.Join(from, name)))
		if err != nil {
			return err
		}
		path := b.path(filepath.Join(to, name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			return err
		}
	}
	return run(exec.Command("depmod", "-b", b.path("root"), b.version))
}

// root adds what is no package's: busybox's names, accounts, our own files.
func (b *builder) root() error {
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "root", "mnt", "var/lib"} {
		if err := os.MkdirAll(b.path("root/"+dir), 0o755); err != nil {
			return err
		}
	}
	applets, err := exec.Command(b.path("root/bin/busybox"), "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if exists(b.path("root/usr/bin/"+applet)) || exists(b.path("root/usr/sbin/"+applet)) {
			continue
		}
		if err := os.Symlink("busybox", b.path("root/usr/bin/"+applet)); err != nil {
			return err
		}
	}
	if err := errors.Join(
		os.RemoveAll(b.path("root/bin/sh")), os.Symlink("dash", b.path("root/bin/sh")),
		os.RemoveAll(b.path("root/var/run")), os.Symlink("/run", b.path("root/var/run")),
		b.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
		b.write("etc/group", "root:x:0:\ntty:x:5:\ndisk:x:6:\n"),
		b.write("etc/modules-at-boot", strings.Join(modulesAtBoot, "\n")+"\n")); err != nil {
		return err
	}
	if err := b.copyOwnFiles(); err != nil {
		return err
	}
	return b.setISCSI()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (b *builder) write(name, text string) error {
	return os.WriteFile(b.path("root/"+name), []byte(text), 0o644)
}

func (b *builder) copyOwnFiles() error {
	return fs.WalkDir(sources, "root", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := sources.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o755
		}
		return errors.Join(os.WriteFile(b.path(path), data, mode), os.Chmod(b.path(path), mode))
	})
}

// setISCSI replaces settings in Debian's iscsid.conf. Without systemd there is
// no socket that would start iscsid.
func (b *builder) setISCSI() error {
	settings, err := sources.ReadFile("root/iscsid.settings")
	if err != nil {
		return err
	}
	conf, err := os.ReadFile(b.path("root/etc/iscsi/iscsid.conf"))
	if err != nil {
		return err
	}
	ours := map[string]bool{"iscsid.startup": true}
	for _, line := range strings.Split(string(settings), "\n") {
		ours[settingName(line)] = true
	}
	var kept []string
	for _, line := range strings.Split(string(conf), "\n") {
		if name := settingName(line); name == "" || !ours[name] {
			kept = append(kept, line)
		}
	}
	return b.write("etc/iscsi/iscsid.conf", strings.Join(kept, "\n")+"\n"+string(settings))
}

func settingName(line string) string {
	name, _, found := strings.Cut(line, "=")
	if !found || strings.HasPrefix(strings.TrimSpace(name), "#") {
		return ""
	}
	return strings.TrimSpace(name)
}

func (b *builder) initrd() error {
	b.log("initrd")
	cmd := exec.Command("sh", "-c", "find . | cpio -o -H newc -R 0:0 --quiet >../initrd")
	cmd.Dir = b.path("root")
	return run(cmd)
}

// clean leaves what a resumed guest reads: ram and state.
func (b *builder) clean() error {
	var failed []error
	for _, name := range []string{"apt", "root", "kernel", "vmlinux", "initrd", "monitor"} {
		failed = append(failed, os.RemoveAll(b.path(name)))
	}
	return errors.Join(failed...)
}

// run runs a command; what it printed is part of the error.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.String(), err, tail(out))
	}
	return nil
}

func tail(out []byte) []byte {
	const most = 4000
	return out[max(0, len(out)-most):]
}
