package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// SettingsPath is the file that the unit's EnvironmentFile names.
const SettingsPath = "/etc/ashlar/node.env"

// Configure writes the settings, and has systemd run the node with them now and after
// each boot. It says whether anything was not so already.
func (p *Plan) Configure(ctx context.Context) (changed bool, err error) {
	was, err := os.ReadFile(SettingsPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if changed = !bytes.Equal(was, []byte(p.Settings)); changed {
		if err := replace(SettingsPath, p.Settings); err != nil {
			return false, err
		}
	}
	runs := exec.CommandContext(ctx, "systemctl", "is-active", "--quiet", Service).Run() == nil
	if runs && !changed {
		return false, nil
	}
	if err := systemctl(ctx, "enable", "--quiet", Service); err != nil {
		return changed, err
	}
	return true, systemctl(ctx, "restart", Service)
}

// replace has a file hold text, as a whole or not at all.
func replace(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return problem("journalctl -u ashlar", "systemctl %v: %v: %s", args, err, bytes.TrimSpace(out))
	}
	return nil
}

// Journal is the end of what the service said.
func Journal(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "journalctl", "-u", Service, "-n", "3", "-o", "cat", "--no-pager").CombinedOutput()
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(bytes.TrimSpace(out))
}
