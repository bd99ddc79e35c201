package hostside

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Look reads what the kernel and multipathd have, below a root ("/") of files.
func Look(ctx context.Context, root string) Facts {
	f := Facts{NativeMultipath: text(root, "sys/module/nvme_core/parameters/multipath")}
	for _, dir := range glob(root, "sys/class/iscsi_session/session*") {
		s := Session{Target: text(dir, "targetname"), RecoveryTmo: text(dir, "recovery_tmo")}
		// The connection's number is the session's, and it has one of them.
		connection := filepath.Join(root, "sys/class/iscsi_connection", "connection"+strings.TrimPrefix(filepath.Base(dir), "session")+":0")
		s.Portal = text(connection, "persistent_address") + ":" + text(connection, "persistent_port")
		s.NoopInterval, s.NoopTimeout = text(connection, "recv_tmo"), text(connection, "ping_tmo")
		f.Sessions = append(f.Sessions, s)
	}
	for _, dir := range glob(root, "sys/class/nvme/nvme*") {
		if text(dir, "transport") != "tcp" {
			continue
		}
		c := Controller{Name: filepath.Base(dir), Subsystem: text(dir, "subsysnqn"), KeepAlive: text(dir, "kato"),
			ReconnectDelay: text(dir, "reconnect_delay"), CtrlLoss: text(dir, "ctrl_loss_tmo"), FastIOFail: text(dir, "fast_io_fail_tmo")}
		for _, part := range strings.Split(text(dir, "address"), ",") {
			if a, ok := strings.CutPrefix(part, "traddr="); ok {
				c.Address = a
			}
		}
		f.Controllers = append(f.Controllers, c)
	}
	if out, err := exec.CommandContext(ctx, "multipathd", "show", "maps", "raw", "format", "%n|%v|%Q|%N").Output(); err == nil {
		f.Multipathd = true
		f.Devices = devices(string(out))
	}
	return f
}

// devices reads a line for each map: name, vendor, queueing, number of paths.
func devices(out string) (all []Device) {
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		w := strings.Split(line, "|")
		if len(w) != 4 {
			continue
		}
		for i := range w {
			w[i] = strings.TrimSpace(w[i])
		}
		paths, _ := strconv.Atoi(w[3])
		all = append(all, Device{Name: w[0], Vendor: w[1], Queueing: w[2], Paths: paths})
	}
	return all
}

func glob(root, pattern string) []string {
	all, _ := filepath.Glob(filepath.Join(root, pattern))
	return all
}

// text is a file's, or empty.
func text(dir, name string) string {
	all, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(all))
}
