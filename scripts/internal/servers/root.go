package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"ashlar/scripts/internal/guest"
)

const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org/debian"
)

// packages that a minimal Debian lacks and every installed server has.
var packages = []string{"systemd", "systemd-sysv", "dbus", "udev", "iproute2", "adduser", "procps"}

// rootDir is the folder with the installed Debian. Servers have what they write elsewhere.
func rootDir() (string, error) {
	cache, err := guest.CacheDir()
	return filepath.Join(cache, "server-"+suite+"-"+strings.Join(packages, "-")), err
}

// Build installs the Debian of servers, once: a minute or two, 260 MB.
func Build() error {
	dir, err := rootDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	unfinished := dir + ".building"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	cmd := exec.Command("debootstrap", "--variant=minbase", "--include="+strings.Join(packages, ","), suite, unfinished, mirror)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return errors.Join(os.RemoveAll(filepath.Join(unfinished, "var/cache/apt/archives")), os.Rename(unfinished, dir))
}
