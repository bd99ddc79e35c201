package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ashlar/appliance/api"
	"ashlar/appliance/setup"

	"github.com/urfave/cli/v2"
)

func supportCommand(version string) *cli.Command {
	return group("support", "what somebody needs who is to help",
		leaf("bundle", "write what this node knows and says into an archive, without secrets", "[FILE]", "ashlar support bundle /tmp/node1.tar.gz",
			func(c *cli.Context, n *api.Client) error { return writeBundle(c, n, version) }))
}

// bundleMax bounds how long one part of the bundle may take: a node in trouble may not answer.
const bundleMax = 10 * time.Second

// part is one file of the bundle.
type part struct {
	name string
	read func(context.Context) ([]byte, error)
}

// of makes a part of what the node answers.
func of[T any](name string, ask func(context.Context) (T, error)) part {
	return part{name + ".json", func(ctx context.Context) ([]byte, error) {
		v, err := ask(ctx)
		if err != nil {
			return nil, err
		}
		return json.MarshalIndent(v, "", "  ")
	}}
}

func run(name string, words ...string) part {
	return part{name + ".txt", func(ctx context.Context) ([]byte, error) {
		out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(out))
		}
		return out, nil
	}}
}

// bundleParts are what is asked. None of them has a secret: of CHAP and DH-HMAC-CHAP nodes
// tell only that it is asked for, and the join secret is left out.
func bundleParts(n *api.Client, version string) []part {
	parts := []part{
		{"version.txt", func(context.Context) ([]byte, error) { return []byte(version + "\n"), nil }},
		of("status", n.Status), of("health", n.Health), of("cluster", n.Cluster), of("nodes", n.Nodes), of("pool", n.Pool), of("disks", n.Disks), of("volumes", n.Volumes),
		of("hosts", n.Hosts), of("exports", n.Exports), of("addresses", n.Addresses), of("sessions", n.Sessions), of("jobs", n.Jobs),
		of("events", func(ctx context.Context) (api.Events, error) { return n.Events(ctx, api.EventsAsked{Limit: 10_000}) }),
		of("why", func(ctx context.Context) ([]api.Why, error) { return n.Why(ctx, "") }),
		of("placement", func(ctx context.Context) (all []api.VolumeDetail, err error) {
			volumes, err := n.Volumes(ctx)
			for _, v := range volumes {
				d, err := n.Volume(ctx, v.Name)
				if err != nil {
					return all, err
				}
				all = append(all, d)
			}
			return all, err
		}),
		{"metrics.txt", n.Metrics},
		run("journal", "journalctl", "-u", setup.Service, "-n", "20000", "-o", "short-iso-precise", "--no-pager"),
		run("kernel", "uname", "-a"), run("links", "ip", "-s", "address"), run("routes", "ip", "route", "show", "table", "all"), run("block", "lsblk", "-a"),
	}
	for _, path := range []string{setup.SettingsPath, "/proc/meminfo", "/proc/loadavg", "/proc/pressure/io", "/proc/pressure/cpu", "/proc/mounts"} {
		parts = append(parts, part{strings.TrimPrefix(strings.ReplaceAll(path, "/", "-"), "-") + ".txt",
			func(context.Context) ([]byte, error) { return os.ReadFile(path) }})
	}
	return parts
}

// writeBundle leaves out what cannot be had, and says so in the bundle and to who asks.
func writeBundle(c *cli.Context, n *api.Client, version string) (err error) {
	path := c.Args().First()
	if path == "" {
		path = fmt.Sprintf("ashlar-%s.tar.gz", time.Now().UTC().Format("20060102-150405"))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(path)
		}
	}()
	missing, err := bundle(c.Context, f, bundleParts(n, version))
	if err != nil {
		return err
	}
	if len(missing) > 0 && !forMachines(c) {
		fmt.Fprintf(c.App.Writer, "left out: %s (missing.txt says why)\n", strings.Join(missing, ", "))
	}
	return done(c, map[string]any{"file": path, "missing": missing}, "what this node knows is in %s", path)
}

func bundle(ctx context.Context, to io.Writer, parts []part) (missing []string, err error) {
	compressed := gzip.NewWriter(to)
	archive := tar.NewWriter(compressed)
	now := time.Now()
	put := func(name string, text []byte) {
		if err == nil {
			err = archive.WriteHeader(&tar.Header{Name: filepath.Join("ashlar", name), Mode: 0o600, Size: int64(len(text)), ModTime: now})
		}
		if err == nil {
			_, err = archive.Write(text)
		}
	}
	missing = []string{}
	var why strings.Builder
	for _, p := range parts {
		ctx, cancel := context.WithTimeout(ctx, bundleMax)
		text, readErr := p.read(ctx)
		cancel()
		if readErr != nil {
			missing = append(missing, p.name)
			fmt.Fprintf(&why, "%s: %v\n", p.name, readErr)
			continue
		}
		put(p.name, text)
	}
	put("missing.txt", []byte(why.String()))
	return missing, errors.Join(err, archive.Close(), compressed.Close())
}
