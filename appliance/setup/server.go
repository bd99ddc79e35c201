package setup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ashlar/node"

	"golang.org/x/sys/unix"
)

// Service is the unit that the package installs.
const Service = "ashlar.service"

// Look finds out about this machine; named are paths of disks that the operator
// means, which may be what a search does not list (loop devices).
func Look(named []string) (Server, error) {
	s := Server{Root: os.Geteuid() == 0}
	_, err := os.Stat("/run/systemd/system") // sd_booted(3)
	s.Systemd = err == nil
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		if _, err := os.Stat(filepath.Join(dir, Service)); err == nil {
			s.Unit = true
		}
	}
	if s.Addresses, err = addresses(); err != nil {
		return s, err
	}
	paths, err := wholeDisks()
	if err != nil {
		return s, err
	}
	for _, path := range named {
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		d, err := look(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOMEDIUM) {
			continue
		}
		if err != nil {
			return s, err
		}
		s.Disks = append(s.Disks, d)
	}
	return s, nil
}

// addresses are those at which other machines can reach this one.
func addresses() (all []netip.Addr, err error) {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		prefix, err := netip.ParsePrefix(f.String())
		if a := prefix.Addr(); err == nil && a.IsGlobalUnicast() {
			all = append(all, a.Unmap())
		}
	}
	return all, nil
}

// wholeDisks are the block devices that are no part of others and not made of
// memory, of files, or of other devices.
func wholeDisks() (paths []string, err error) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
next:
	for _, e := range entries {
		for _, prefix := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "rbd", "drbd"} {
			if strings.HasPrefix(e.Name(), prefix) {
				continue next
			}
		}
		paths = append(paths, "/dev/"+strings.ReplaceAll(e.Name(), "!", "/"))
	}
	return paths, nil
}

func look(path string) (Disk, error) {
	d := Disk{Path: path}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return d, problem("", "%s is no block device", path)
	}
	size, err := node.DeviceBytes(path)
	if err != nil {
		return d, err
	}
	d.Bytes = size
	if d.InUse, err = user(uint32(unix.Major(st.Rdev)), uint32(unix.Minor(st.Rdev))); err != nil || d.InUse != "" {
		return d, err
	}
	d.Data, err = node.HoldsData(path)
	return d, err
}

// user says what of this machine uses a device.
func user(major, minor uint32) (string, error) {
	number := fmt.Sprintf("%d:%d", major, minor)
	folder := "/sys/dev/block/" + number
	if holders, _ := os.ReadDir(folder + "/holders"); len(holders) > 0 {
		return holders[0].Name() + " is made of it", nil
	}
	parts, err := os.ReadDir(folder + "/")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, p := range parts {
		if _, err := os.Stat(filepath.Join(folder, p.Name(), "partition")); err == nil {
			return "it has partitions, " + p.Name() + " among them", nil
		}
	}
	where, err := mounted(number)
	if err != nil {
		return "", err
	}
	if where != "" {
		return "it is mounted at " + where, nil
	}
	return swapped(major, minor)
}

func mounted(number string) (where string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) > 4 && w[2] == number {
			return w[4], nil
		}
	}
	return "", nil
}

func swapped(major, minor uint32) (string, error) {
	text, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(text), "\n")[1:] {
		path, _, _ := strings.Cut(line, " ")
		if path, err = strconv.Unquote(`"` + path + `"`); err != nil || path == "" {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && uint32(unix.Major(st.Rdev)) == major && uint32(unix.Minor(st.Rdev)) == minor {
			return "it is swap space", nil
		}
	}
	return "", nil
}
