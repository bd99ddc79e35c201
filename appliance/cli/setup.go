package cli

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"ashlar/appliance/api"
	"ashlar/appliance/setup"

	"github.com/urfave/cli/v2"
)

func setupCommand() *cli.Command {
	return leaf("setup", "make this server a node: settings, service, cluster, disks", "",
		"ashlar setup --address 10.1.0.1 --address 10.2.0.1 --cluster prod --disk /dev/sdb\n"+
			"   ashlar setup --address 10.1.0.2 --address 10.2.0.2 --join 10.1.0.1 --secret-file /root/secret --disk free", setUp,
		&cli.StringSliceFlag{Name: "address", Usage: "IP of this node, once per fabric; the first also serves the other nodes (default: the machine's only one)"},
		&cli.StringFlag{Name: "name", Usage: "name of the node in its cluster (default: the machine's)"},
		&cli.StringFlag{Name: "cluster", Usage: "make a cluster of this `NAME`"},
		&cli.StringFlag{Name: "join", Usage: "become a member of the cluster of the node at this `ADDRESS`"},
		&cli.StringFlag{Name: "secret-file", Usage: "file with the join secret, or - for stdin; else $ASHLAR_SECRET is used"},
		&cli.StringSliceFlag{Name: "disk", Usage: "block device for the pool; `free`: each whole disk that holds nothing"},
		&cli.BoolFlag{Name: "force", Usage: "take the disks that are named even if they hold data"},
		&cli.BoolFlag{Name: "dry-run", Usage: "show what would be done, and do nothing"})
}

// set up tells of each step when it is done; the result is what there is in the end.
func setUp(c *cli.Context, n *api.Client) error {
	w, err := wanted(c)
	if err != nil {
		return err
	}
	secret := ""
	if c.IsSet("join") && !c.Bool("dry-run") {
		if secret, err = readSecret(c); err != nil {
			return err
		}
	}
	status, runs := n.Status(c.Context)
	known, err := poolOf(c.Context, n, status, runs == nil)
	if err != nil {
		return err
	}
	w.Disks = slices.DeleteFunc(w.Disks, func(path string) bool { return slices.Contains(known, path) })
	server, err := setup.Look(w.Disks)
	if err != nil {
		return refused(err)
	}
	server.Disks = slices.DeleteFunc(server.Disks, func(d setup.Disk) bool { return slices.Contains(known, d.Path) })
	plan, err := setup.Decide(server, w)
	if err != nil {
		return refused(err)
	}
	if err := sameCluster(c, status); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return show(c, plan, func() { describe(c, plan) })
	}
	say := func(format string, args ...any) {
		if !forMachines(c) {
			fmt.Fprintf(c.App.Writer, format+"\n", args...)
		}
	}
	changed, err := plan.Configure(c.Context)
	if err != nil {
		return refused(err)
	}
	if status, err = awaitNode(c.Context, n); err != nil {
		return err
	}
	if changed {
		say("node %q serves, and will after each boot; its settings are in %s", status.Name, setup.SettingsPath)
	}
	if err := enter(c, n, status, secret, say); err != nil {
		return err
	}
	for _, d := range plan.Disks {
		added, err := n.AddDisk(c.Context, api.NewDisk{Path: d.Path, Force: d.Data && c.Bool("force")})
		if err != nil {
			return err
		}
		say("disk %s (%s) is in the pool", added.Path, formatSize(added.Size))
	}
	if status, err = n.Status(c.Context); err != nil {
		return err
	}
	return done(c, status, "this server is node %q of %s", status.Name, clusterWords(status.Cluster))
}

func wanted(c *cli.Context) (w setup.Wanted, err error) {
	w = setup.Wanted{Name: c.String("name"), Force: c.Bool("force")}
	if c.IsSet("cluster") && c.IsSet("join") {
		return w, misuse("--cluster makes a cluster, --join enters one: give one of them")
	}
	for _, text := range c.StringSlice("address") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return w, misuse("--address: %q is no IP address", text)
		}
		w.Addresses = append(w.Addresses, a)
	}
	for _, path := range c.StringSlice("disk") {
		if path == "free" {
			w.AllDisks = true
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return w, err
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return w, misuse("--disk: %v", err)
		}
		w.Disks = append(w.Disks, path)
	}
	if len(c.StringSlice("disk")) > 0 && !c.IsSet("cluster") && !c.IsSet("join") {
		return w, misuse("disks are a cluster's: give --cluster NAME or --join ADDRESS, too")
	}
	return w, nil
}

// refused gives a problem of the setup its next step.
func refused(err error) error {
	if p, ok := err.(*setup.Problem); ok {
		return &api.Problem{Code: "setup", Detail: p.Detail, Next: p.Next}
	}
	return err
}

// sameCluster refuses to lead a node out of the cluster that it is in.
func sameCluster(c *cli.Context, s api.Status) error {
	if name := c.String("cluster"); name != "" && s.Cluster != "" && s.Cluster != name {
		return &api.Problem{Code: "exists", Detail: fmt.Sprintf("this node is in cluster %q", s.Cluster), Next: "ashlar status"}
	}
	return nil
}

// poolOf are the paths of the disks that this node has in the pool.
func poolOf(ctx context.Context, n *api.Client, s api.Status, runs bool) (paths []string, err error) {
	if !runs || s.Cluster == "" {
		return nil, nil
	}
	all, err := n.Disks(ctx)
	for _, d := range all {
		if d.Node == s.Name {
			paths = append(paths, d.Path)
		}
	}
	return paths, err
}

// startMax bounds how long a node that was started may take to answer.
const startMax = 30 * time.Second

func awaitNode(ctx context.Context, n *api.Client) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	for {
		s, err := n.Status(ctx)
		if err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, &api.Problem{Code: "setup", Detail: fmt.Sprintf("the node does not answer within %v; it said: %s", startMax, setup.Journal(context.WithoutCancel(ctx))),
				Next: "journalctl -u ashlar"}
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// enter makes or joins the cluster, unless the node is in it.
func enter(c *cli.Context, n *api.Client, s api.Status, secret string, say func(string, ...any)) error {
	switch name := c.String("cluster"); {
	case s.Cluster != "":
		return awaitReady(c.Context, n)
	case name != "":
		size, err := parseSize("segment size", defaultSegmentSize)
		if err != nil {
			return err
		}
		if err := n.CreateCluster(c.Context, api.NewCluster{Name: name, SegmentSize: size}); err != nil {
			return err
		}
		say("cluster %q is made; other servers join with the secret that `ashlar cluster secret` prints", name)
	case c.IsSet("join"):
		address, err := peerAddress(c.String("join"))
		if err != nil {
			return err
		}
		if err := n.JoinCluster(c.Context, api.Join{Address: address, Secret: secret}); err != nil {
			return err
		}
		say("the node has joined the cluster")
	default:
		return nil
	}
	return awaitReady(c.Context, n)
}

// awaitReady waits until the node has its lease: before, it can give orders to nobody.
func awaitReady(ctx context.Context, n *api.Client) error {
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	for {
		if s, err := n.Status(ctx); err == nil && s.State == "ready" {
			return nil
		}
		select {
		case <-ctx.Done():
			return &api.Problem{Code: "setup", Detail: fmt.Sprintf("the node is not ready within %v", startMax), Next: "ashlar cluster status"}
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func describe(c *cli.Context, p *setup.Plan) {
	fmt.Fprintf(c.App.Writer, "The node would serve at %v.\n", p.Addresses)
	for _, d := range p.Disks {
		fmt.Fprintf(c.App.Writer, "Disk %s (%s) would be given to the pool, and what is on it be lost.\n", d.Path, formatSize(d.Bytes))
	}
	for _, d := range p.Left {
		why := "not asked for"
		switch {
		case d.InUse != "":
			why = d.InUse
		case d.Data:
			why = "it holds data"
		}
		fmt.Fprintf(c.App.Writer, "Disk %s (%s) would stay as it is: %s.\n", d.Path, formatSize(d.Bytes), why)
	}
}

func clusterWords(name string) string {
	if name == "" {
		return "no cluster yet"
	}
	return fmt.Sprintf("cluster %q", name)
}
