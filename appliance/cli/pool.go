package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func nodeCommand() *cli.Command {
	return group("node", "the servers of the cluster",
		leaf("list", "all nodes", "", "ashlar node list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Nodes(c.Context)
			if err != nil {
				return err
			}
			return listNodes(c, all)
		}),
		leaf("show", "one node", "NAME", "ashlar node show node1", func(c *cli.Context, n *api.Client) error {
			v, err := n.Node(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			return show(c, v, func() {
				facts(c, table.Row{"node", v.Name}, table.Row{"number", v.ID}, table.Row{"state", v.State}, table.Row{"incarnation", v.Incarnation},
					table.Row{"voter", yes(v.Voter)}, table.Row{"peer address", v.Peer}, table.Row{"portals", strings.Join(v.Portals, " ")}, table.Row{"nvme portals", dash(strings.Join(v.NVMe, " "))}, table.Row{"nvme discovery", dash(strings.Join(v.Discovery, " "))},
					table.Row{"disks", v.Disks}, table.Row{"head of volumes", v.Heads}, table.Row{"fault domain", dash(v.Domain)}, table.Row{"drained", yes(v.Drained)}, table.Row{"witness", yes(v.Witness)})
			})
		}),
		upgradeCheckCommand(),
		leaf("drain", "have hosts and heads go to other nodes, until undrain", "NAME", "ashlar node drain node1", drainNode,
			&cli.BoolFlag{Name: "data", Usage: "have its copies go to other nodes, too"}),
		leaf("set", "say in which fault domain a node is", "NAME", "ashlar node set node1 --domain rack1", setNode,
			&cli.StringFlag{Name: "domain", Usage: "label of the nodes that may fail together; empty: it is alone in its own"}),
		leaf("remove", "take a node that has stopped out of the cluster, for good", "NAME", "ashlar node remove node1", removeNode,
			&cli.BoolFlag{Name: "dead", Usage: "it is lost: give up what its disks hold, of which others have copies"}),
		leaf("undrain", "serve hosts again, and keep copies", "NAME", "ashlar node undrain node1", func(c *cli.Context, n *api.Client) error {
			name := c.Args().First()
			if err := n.UndrainNode(c.Context, name); err != nil {
				return err
			}
			return done(c, struct{}{}, "node %q serves hosts again", name)
		}))
}

func drainNode(c *cli.Context, n *api.Client) error {
	name := c.Args().First()
	d, err := n.DrainNode(c.Context, name, c.Bool("data"))
	if err != nil {
		return err
	}
	if c.Bool("data") && d.Sessions == 0 {
		return done(c, d, "node %q is drained of hosts, and its copies move to other nodes; ashlar node list shows how many are left", name)
	}
	if d.Sessions > 0 {
		return done(c, d, "node %q is drained; sessions of hosts that are still to end: %d", name, d.Sessions)
	}
	return done(c, d, "node %q is drained: no host is logged in there; it serves them again after: ashlar node undrain %s", name, name)
}

// nodeState is a node's for people.
func nodeState(n api.Node) string {
	if n.Witness {
		return n.State + ", witness"
	}
	if n.Emptied {
		return fmt.Sprintf("%s, drained, copies left: %d", n.State, n.Copies)
	}
	if n.Drained {
		return n.State + ", drained"
	}
	return n.State
}

func listNodes(c *cli.Context, all []api.Node) error {
	return list(c, all, "There are no nodes.", table.Row{"node", "number", "state", "voter", "disks", "heads", "domain", "peer address", "portals", wide("incarnation"), wide("copies"), wide("nvme portals"), wide("nvme discovery")},
		func(n api.Node) table.Row {
			return table.Row{n.Name, n.ID, mood(c, nodeState(n)), yes(n.Voter), n.Disks, n.Heads, dash(n.Domain), n.Peer, strings.Join(n.Portals, " "),
				n.Incarnation, n.Copies, dash(strings.Join(n.NVMe, " ")), dash(strings.Join(n.Discovery, " "))}
		})
}

func diskCommand() *cli.Command {
	return group("disk", "the devices and files of the pool",
		leaf("add", "give a block device or a file of this node to the pool", "PATH", "ashlar disk add /dev/nvme0n1", addDisk,
			&cli.StringFlag{Name: "size", Usage: "make the file, of that size (like 100G)"},
			&cli.BoolFlag{Name: "force", Usage: "overwrite what is on it"}),
		leaf("drain", "have its copies go to other nodes' disks, until undrain", "DISK", "ashlar disk drain /dev/nvme0n1", drainDisk),
		leaf("undrain", "keep and take copies again", "DISK", "ashlar disk undrain node2:/dev/nvme0n1", undrainDisk),
		leaf("remove", "take a disk without copies out of the pool", "DISK", "ashlar disk remove /dev/nvme0n1", removeDisk,
			&cli.BoolFlag{Name: "dead", Usage: "it has failed, or its node has: give up what it holds, of which others have copies"}),
		inspectCommand(),
		leaf("list", "all disks", "", "ashlar disk list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Disks(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "There are no disks; add one with: ashlar disk add PATH", table.Row{"node", "path", "size", "state", "copies", "bad today", "bad ever", "identity", wide("last bad")},
				func(d api.Disk) table.Row {
					return table.Row{d.Node, d.Path, formatSize(d.Size), mood(c, d.State), d.Replicas, d.BadLately, d.BadEver, d.ID, when(d.BadLast)}
				})
		}),
		leaf("show", "one disk, and the blocks that it lost", "IDENTITY|PATH", "ashlar disk show /dev/nvme0n1", showDisk))
}

func addDisk(c *cli.Context, n *api.Client) error {
	path, err := filepath.Abs(c.Args().First())
	if err != nil {
		return err
	}
	in := api.NewDisk{Path: path, Force: c.Bool("force")}
	if c.IsSet("size") {
		if in.Size, err = parseSize("--size", c.String("size")); err != nil {
			return err
		}
	}
	d, err := n.AddDisk(c.Context, in)
	if err != nil {
		return err
	}
	return done(c, d, "disk %s (%s) is in the pool", d.Path, formatSize(d.Size))
}
