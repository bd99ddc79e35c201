package hostside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Connected is a volume as the host has it.
type Connected struct {
	Name  string   `json:"name"`  // IQN or NQN
	Disk  string   `json:"disk"`  // path of the block device
	Paths []string `json:"paths"` // portals
}

const (
	discoveryPort = "8009"
	nothingFound  = 21               // iscsiadm's exit status: the portal answers, and has no target for this host
	diskMax       = 60 * time.Second // for the disk to appear, with all of its paths
	retryEvery    = 200 * time.Millisecond
)

// ConnectISCSI discovers at a portal, logs in at all portals of a volume, and waits for its disk.
func ConnectISCSI(ctx context.Context, portal, volume string) (*Connected, error) {
	out, err := run(ctx, "iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", portal)
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == nothingFound) {
		return nil, err
	}
	c, err := choose(targets(out), volume, portal)
	if err != nil {
		return nil, err
	}
	// A login at a portal where there is a session already is refused, and is none too few.
	if out, err := run(ctx, "iscsiadm", "-m", "node", "-T", c.Name, "--login"); err != nil && !strings.Contains(err.Error(), "already present") {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	c.Disk, err = await(ctx, c, func() (string, int) { return scsiDisk("/", c.Name) })
	return c, err
}

// ConnectNVMe does the same with NVMe/TCP.
func ConnectNVMe(ctx context.Context, portal, volume string) (*Connected, error) {
	out, err := run(ctx, "nvme", "discover", "-t", "tcp", "-a", portal, "-s", discoveryPort, "-o", "json")
	if err != nil {
		return nil, err
	}
	all, err := subsystems([]byte(out))
	if err != nil {
		return nil, err
	}
	c, err := choose(all, volume, portal)
	if err != nil {
		return nil, err
	}
	for _, p := range c.Paths {
		host, port, _ := strings.Cut(p, " ")
		_, err := run(ctx, "nvme", "connect", "-t", "tcp", "-a", host, "-s", port, "-n", c.Name,
			"--keep-alive-tmo=3", "--reconnect-delay=1", "--ctrl-loss-tmo=600")
		if err != nil && !strings.Contains(err.Error(), "already") {
			return nil, err
		}
	}
	c.Disk, err = await(ctx, c, func() (string, int) { return nvmeDisk("/", c.Name) })
	return c, err
}

// targets reads what iscsiadm prints of each portal: "ADDRESS:PORT,TPGT IQN".
func targets(out string) map[string][]string {
	all := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\S+),\d+ (\S+)$`).FindAllStringSubmatch(out, -1) {
		all[m[2]] = append(all[m[2]], m[1])
	}
	return all
}

// subsystems reads a discovery log page as nvme-cli prints it.
func subsystems(text []byte) (map[string][]string, error) {
	var log struct {
		Records []struct {
			SubNQN  string `json:"subnqn"`
			Traddr  string `json:"traddr"`
			Trsvcid string `json:"trsvcid"`
		} `json:"records"`
	}
	if err := json.Unmarshal(text, &log); err != nil {
		return nil, fmt.Errorf("nvme discover: %w in %q", err, text)
	}
	all := map[string][]string{}
	for _, r := range log.Records {
		if strings.HasPrefix(r.SubNQN, nqnPrefix) {
			all[r.SubNQN] = append(all[r.SubNQN], strings.TrimSpace(r.Traddr)+" "+strings.TrimSpace(r.Trsvcid))
		}
	}
	return all, nil
}

// choose finds a volume, by the end of its name.
func choose(all map[string][]string, volume, portal string) (*Connected, error) {
	var names, found []string
	for name := range all {
		short := name[strings.LastIndex(name, ":")+1:]
		names = append(names, short)
		if _, last, _ := strings.Cut(short, "."); last == volume {
			found = append(found, name)
		}
	}
	slices.Sort(names)
	switch len(found) {
	case 1:
		return &Connected{Name: found[0], Paths: all[found[0]]}, nil
	case 0:
		if len(names) == 0 {
			return nil, fmt.Errorf("%s publishes nothing to this host: `ashlar export add %s HOST` on a node does", portal, volume)
		}
		return nil, fmt.Errorf("%s does not publish %q to this host, but %s", portal, volume, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%s publishes more than one %q: %s", portal, volume, strings.Join(found, ", "))
}

// await waits for a disk with all the paths of c. What there is after a while has to do.
func await(ctx context.Context, c *Connected, look func() (disk string, paths int)) (string, error) {
	deadline := time.Now().Add(diskMax)
	for {
		disk, paths := look()
		if disk != "" && (paths >= len(c.Paths) || time.Now().After(deadline)) {
			return disk, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%s: no disk within %v", c.Name, diskMax)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(retryEvery):
		}
	}
}

// scsiDisk finds the disk of a target's LUN 0: the multipath device, where there is one.
func scsiDisk(root, target string) (disk string, paths int) {
	for _, s := range glob(root, "sys/class/iscsi_session/session*") {
		if text(s, "targetname") != target {
			continue
		}
		for _, block := range glob(s, "device/target*/*/block/*") {
			paths++
			disk = "/dev/" + filepath.Base(block)
			for _, holder := range glob(block, "holders/dm-*") {
				name := text(holder, "dm/name")
				if name != "" && strings.HasPrefix(text(holder, "dm/uuid"), "mpath-") {
					return "/dev/mapper/" + name, len(glob(holder, "slaves/*"))
				}
			}
		}
	}
	if paths > 1 {
		return "", 0 // multipathd has not looked yet
	}
	return disk, paths
}

// nvmeDisk finds the first namespace of a subsystem.
func nvmeDisk(root, nqn string) (disk string, paths int) {
	for _, s := range glob(root, "sys/class/nvme-subsystem/nvme-subsys*") {
		if text(s, "subsysnqn") != nqn {
			continue
		}
		for _, c := range glob(s, "nvme*") {
			if text(c, "state") == "live" {
				paths++
			}
		}
		for _, name := range glob(s, "nvme*n*") {
			if regexp.MustCompile(`^nvme\d+n\d+$`).MatchString(filepath.Base(name)) {
				disk = "/dev/" + filepath.Base(name)
			}
		}
	}
	return disk, paths
}

// run runs a tool of the host's. Its error is what it said.
func run(ctx context.Context, name string, args ...string) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("a host connects as root: run it with sudo")
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("there is no %s on this host: install %s", name, map[string]string{"iscsiadm": "open-iscsi", "nvme": "nvme-cli"}[name])
	case err != nil:
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return string(out), nil
}
