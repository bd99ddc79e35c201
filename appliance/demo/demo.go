package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"ashlar/appliance/api"

	"github.com/urfave/cli/v2"
)

const (
	nodes        = 3
	volumeBytes  = 1 << 30
	segmentBytes = 64 << 20 // small, so that there are borders to cross
	diskBytes    = 3 << 30  // sparse: only what is written takes room
	roomBytes    = 3 << 30  // and that is at most this, of all nodes together
)

// Command is `ashlar demo`.
func Command() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "three nodes on this machine, a mirrored volume, and the death of its head under load",
		Description: "Needs no root and no installed package. Its files are in a temporary folder.\n\nExample:\n   ashlar demo --keep",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", Usage: "leave the cluster running at the end, until Ctrl-C"},
			&cli.IntFlag{Name: "rounds", Value: 1, Usage: "how often the head is killed"},
			&cli.StringFlag{Name: "folder", Usage: "where its files go (default: the system's temporary folder)"},
		},
		Action: func(c *cli.Context) error {
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return run(ctx, c.App.Writer, c.String("folder"), c.Int("rounds"), c.Bool("keep"))
		},
	}
}

// demo is one performance.
type demo struct {
	out      io.Writer
	began    time.Time
	launcher launcher
	servers  []*server
	volume   api.Volume
	load     *load
	pause    time.Duration // the longest that a write took
}

// run is the story: build, load, kill, heal, prove.
func run(ctx context.Context, out io.Writer, parent string, rounds int, keep bool) (err error) {
	folder, err := os.MkdirTemp(parent, "ashlar-demo-")
	if err != nil {
		return err
	}
	d := &demo{out: out, began: time.Now(), launcher: newLauncher()}
	defer func() {
		d.say("The nodes stop.")
		d.stopAll()
		if err == nil || ctx.Err() != nil {
			err = errors.Join(err, os.RemoveAll(folder))
		} else {
			d.say("The nodes' folders and logs are left in %s.", folder)
		}
	}()
	if err := d.checkFolder(folder); err != nil {
		return err
	}
	if err := d.build(ctx, folder); err != nil {
		return err
	}
	if err := d.connect(ctx); err != nil {
		return err
	}
	defer d.load.volume.close()
	d.load.start()
	err = d.watch(ctx, 3*time.Second)
	for round := 0; round < rounds && err == nil; round++ {
		err = d.killHead(ctx)
	}
	d.load.stop()
	if err == nil {
		err = d.prove(ctx)
	}
	if err != nil {
		return err
	}
	if keep {
		d.invite()
		<-ctx.Done()
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%5.1f s  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// build starts the nodes and makes a cluster, its disks and a volume that is published to the host.
func (d *demo) build(ctx context.Context, folder string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if d.servers, err = newServers(folder, nodes); err != nil {
		return err
	}
	d.say("Three nodes start on %s, %s and %s.", d.servers[0].ip, d.servers[1].ip, d.servers[2].ip)
	for _, s := range d.servers {
		if err := errors.Join(s.start(d.launcher), s.answers(ctx)); err != nil {
			return err
		}
	}
	first := d.servers[0].client
	if err := first.CreateCluster(ctx, api.NewCluster{Name: "demo", SegmentSize: segmentBytes}); err != nil {
		return err
	}
	secret, err := first.Secret(ctx)
	if err != nil {
		return err
	}
	for _, s := range d.servers[1:] {
		if err := s.client.JoinCluster(ctx, api.Join{Address: d.servers[0].peer(), Secret: secret.Secret}); err != nil {
			return err
		}
	}
	for _, s := range d.servers {
		if err := d.addDisk(ctx, s); err != nil {
			return err
		}
	}
	d.say("They are one cluster, with a disk each.")
	return d.publish(ctx, first)
}

// addDisk gives a sparse file to a node.
func (d *demo) addDisk(ctx context.Context, s *server) error {
	path := filepath.Join(s.dir, "disk")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(diskBytes), f.Close()); err != nil {
		return err
	}
	_, err = s.client.AddDisk(ctx, api.NewDisk{Path: path})
	return err
}

func (d *demo) publish(ctx context.Context, c *api.Client) (err error) {
	// Only three voters outlive the death of one. The cluster makes them as nodes join.
	err = until(ctx, func() (bool, error) {
		s, err := c.Cluster(ctx)
		voters := 0
		for _, n := range s.Nodes {
			if n.Voter {
				voters++
			}
		}
		return voters == nodes, err
	})
	if err != nil {
		return fmt.Errorf("waiting until all nodes vote: %w", err)
	}
	if d.volume, err = c.CreateVolume(ctx, api.NewVolume{Name: "demo", Size: volumeBytes, Copies: 2}); err != nil {
		return err
	}
	if err := c.AddHost(ctx, api.Host{Name: "host", IQN: hostIQN}); err != nil {
		return err
	}
	if err := c.AddExport(ctx, api.Export{Volume: "demo", Host: "host"}); err != nil {
		return err
	}
	d.say("Volume \"demo\": 1 GiB in %d segments, 2 copies of each, published by all three nodes. Its head is %s.", d.volume.Segments, d.volume.Head)
	return nil
}

// connect logs in as a host does: discovery at one portal, then a session through each.
func (d *demo) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, s := range d.servers {
		if err := until(ctx, func() (bool, error) {
			st, err := s.client.Status(ctx)
			return st.State == "ready", err
		}); err != nil {
			return fmt.Errorf("waiting until %s may serve hosts: %w", s.name, err)
		}
	}
	volume, err := discover(ctx, d.servers[0].portal(), d.volume.IQN)
	if err != nil {
		return err
	}
	if len(volume.paths) != nodes {
		return fmt.Errorf("discovery at %s lists %d portals instead of %d", d.servers[0].portal(), len(volume.paths), nodes)
	}
	if err := volume.connect(ctx); err != nil {
		return err
	}
	volume.prefer(ctx)
	d.load = newLoad(volume, volumeBytes, segmentBytes)
	d.say("The host found %d portals and logged in to each. %d writers begin.", len(volume.paths), writers)
	return nil
}

// stopAll ends the processes that this demo started, and only them.
func (d *demo) stopAll() {
	var all sync.WaitGroup
	for _, s := range d.servers {
		all.Go(func() { s.end(syscall.SIGTERM) })
	}
	all.Wait()
}

// invite tells how to reach the cluster that is kept.
func (d *demo) invite() {
	program, err := os.Executable()
	if err != nil {
		program = "ashlar"
	}
	unit := fmt.Sprintf("driver=iscsi,transport=tcp,portal=%s,target=%s,lun=0,initiator-name=%s", d.servers[0].portal(), d.volume.IQN, hostIQN)
	fmt.Fprintf(d.out, `
The cluster runs until you press Ctrl-C. Look at it from another terminal:

  export ASHLAR_DIR=%[1]s
  alias ashlar=%[2]s
  ashlar cluster status

With QEMU's tools (Debian: qemu-utils, qemu-block-extra):

  qemu-img info --image-opts %[3]s
  qemu-img convert -f raw -n --target-image-opts disk.img %[3]s

With Linux' own initiator (Debian: open-iscsi, multipath-tools; as root):

  ashlar host add here "$(sed -n 's/^InitiatorName=//p' /etc/iscsi/initiatorname.iscsi)"
  ashlar export add demo here
  iscsiadm -m discovery -t sendtargets -p %[4]s
  iscsiadm -m node -T %[5]s --login
  multipath -ll

or with NVMe/TCP (Debian: nvme-cli; as root), which does without multipathd:

  modprobe nvme-tcp
  ashlar host add here-nvme --nqn "$(cat /etc/nvme/hostnqn)"
  ashlar export add demo here-nvme
  nvme connect-all -t tcp -a %[6]s -s %[7]d
  nvme list-subsys

`, d.servers[0].dir, program, unit, d.servers[0].portal(), d.volume.IQN, d.servers[0].ip, d.servers[0].ports.discovery)
}

func (d *demo) server(name string) *server {
	for _, s := range d.servers {
		if s.name == name {
			return s
		}
	}
	return nil
}
