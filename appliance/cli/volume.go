package cli

import (
	"fmt"
	"strings"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func volumeCommand() *cli.Command {
	return group("volume", "virtual disks",
		leaf("create", "make a volume", "NAME", "ashlar volume create db --size 10G --copies 2", createVolume,
			&cli.StringFlag{Name: "size", Usage: "like 10G; needed"},
			&cli.IntFlag{Name: "copies", Value: 2, Usage: "1, 2 or 3, each on another node"},
			&cli.StringFlag{Name: "write-cache", Value: "off", Usage: "on: answer writes from the memories of two nodes or more; what hosts flush is on disks"}, ownerFlag()),
		leaf("list", "all volumes", "", "ashlar volume list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Volumes(c.Context)
			if err != nil {
				return err
			}
			return listVolumes(c, all)
		}),
		leaf("show", "one volume, and where its copies are", "NAME", "ashlar volume show db", showVolume),
		leaf("resize", "make a volume larger, while hosts use it", "NAME SIZE", "ashlar volume resize db 20G", resizeVolume),
		leaf("move-head", "have another node order a volume's writes", "NAME NODE", "ashlar volume move-head db node2", func(c *cli.Context, n *api.Client) error {
			name, node := c.Args().Get(0), c.Args().Get(1)
			if err := n.MoveHead(c.Context, name, api.Head{Node: node}); err != nil {
				return err
			}
			return done(c, struct{}{}, "node %q is the head of volume %q", node, name)
		}),
		leaf("delete", "remove a volume and all that is on it", "NAME", "ashlar volume delete db", func(c *cli.Context, n *api.Client) error {
			name := c.Args().First()
			if err := n.DeleteVolume(c.Context, name); err != nil {
				return err
			}
			return done(c, struct{}{}, "volume %q is gone", name)
		}),
		leaf("verify", "compare all copies of a volume, block by block", "NAME", "ashlar volume verify db", verifyVolume,
			&cli.BoolFlag{Name: "repair", Usage: "make equal what differs, from the copies that have the newest version with good data"},
			&cli.BoolFlag{Name: "wait", Value: true, Usage: "wait for the end; --wait=false tells the number of the job, which goes on"}))
}

func createVolume(c *cli.Context, n *api.Client) error {
	if !c.IsSet("size") {
		return misuse("a volume needs a size (like --size 10G)")
	}
	size, err := parseSize("--size", c.String("size"))
	if err != nil {
		return err
	}
	cache := c.String("write-cache")
	if cache != "on" && cache != "off" {
		return misuse("--write-cache is on or off, not %q", cache)
	}
	v, err := n.CreateVolume(c.Context, api.NewVolume{Name: c.Args().First(), Size: size, Copies: c.Int("copies"), Tenant: c.String("tenant"),
		WriteCache: cache == "on"})
	if err != nil {
		return err
	}
	return done(c, v, "volume %q created: %s, copies: %d, head: %s\npublish it with: ashlar export add %s HOST", v.Name, formatSize(v.Size), v.Copies, dash(v.Head), v.Name)
}

func resizeVolume(c *cli.Context, n *api.Client) error {
	size, err := parseSize("SIZE", c.Args().Get(1))
	if err != nil {
		return err
	}
	v, err := n.ResizeVolume(c.Context, c.Args().First(), api.Size{Size: size})
	if err != nil {
		return err
	}
	return done(c, v, "volume %q has %s now; hosts see it when they look again (iscsiadm -m session --rescan)", v.Name, formatSize(v.Size))
}

func listVolumes(c *cli.Context, all []api.Volume) error {
	return list(c, all, "There are no volumes.", table.Row{"volume", "size", "copies", "state", "in sync", "head", "epoch", "hosts", wide("segments"), wide("in one domain"), wide("iqn"), wide("nqn")},
		func(v api.Volume) table.Row {
			return table.Row{v.Name, formatSize(v.Size), v.Copies, mood(c, v.State), inSync(v), dash(v.Head), v.Epoch, hostsOf(v), v.Segments, v.Shared, v.IQN, v.NQN}
		})
}

func inSync(v api.Volume) string { return fmt.Sprintf("%d of %d", v.InSync, v.Replicas) }

// writeCache tells of a volume's, and of what it has lost.
func writeCache(v api.Volume) string {
	switch {
	case !v.WriteCache:
		return "off"
	case v.Losses == 0:
		return "on"
	}
	return fmt.Sprintf("on; what was not flushed may have been lost, so often: %d (hosts that were logged in then have to log in again)", v.Losses)
}

func hostsOf(v api.Volume) string {
	var hosts []string
	for _, e := range v.Exports {
		if e.LUN != nil {
			e.Host += fmt.Sprintf(" (LUN %d)", *e.LUN)
		}
		if e.ReadOnly {
			e.Host += " (read-only)"
		}
		hosts = append(hosts, e.Host)
	}
	return dash(strings.Join(hosts, ", "))
}

func showVolume(c *cli.Context, n *api.Client) error {
	v, err := n.Volume(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	return show(c, v, func() {
		facts(c, table.Row{"volume", v.Name}, table.Row{"number", v.ID}, table.Row{"size", formatSize(v.Size)}, table.Row{"state", v.State},
			table.Row{"copies", v.Copies}, table.Row{"write cache", writeCache(v.Volume)}, table.Row{"in sync", inSync(v.Volume)}, table.Row{"head", dash(v.Head)}, table.Row{"epoch", v.Epoch},
			table.Row{"iqn", v.IQN}, table.Row{"nqn", fmt.Sprintf("%s, namespace %d (nvme connect-all -t tcp -a ADDRESS)", v.NQN, v.NSID)}, table.Row{"hosts", hostsOf(v.Volume)})
		fmt.Fprintln(c.App.Writer)
		t := newTable(c)
		t.AppendHeader(table.Row{"segment", "node", "disk", "in sync"})
		for _, s := range v.Placement {
			for _, r := range s.Replicas {
				t.AppendRow(table.Row{s.Segment, r.Node, r.Disk, yes(r.InSync)})
			}
		}
		t.Render()
	})
}
