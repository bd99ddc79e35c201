package cli

import (
	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func hostCommand() *cli.Command {
	g := group("host", "initiators that volumes are published to",
		leaf("add", "name an initiator", "NAME [IQN]", "ashlar host add web1 iqn.1993-08.org.debian:01:abcdef", func(c *cli.Context, n *api.Client) error {
			h := api.Host{Name: c.Args().Get(0), IQN: c.Args().Get(1), NQN: c.String("nqn"), Tenant: c.String("tenant")}
			if h.IQN == "" && h.NQN == "" {
				return misuse("host add: a host has an IQN, for iSCSI, or --nqn NQN, for NVMe, or both")
			}
			if err := n.AddHost(c.Context, h); err != nil {
				return err
			}
			return done(c, h, "host %q is known", h.Name)
		}, &cli.StringFlag{Name: "nqn", Usage: "its name with NVMe: /etc/nvme/hostnqn on the host"}, ownerFlag()),
		leaf("nqn", "give a host that is known by its IQN an NQN, too", "NAME NQN", "ashlar host nqn web1 nqn.2014-08.org.nvmexpress:uuid:...", func(c *cli.Context, n *api.Client) error {
			name, nqn := c.Args().Get(0), c.Args().Get(1)
			if err := n.SetNQN(c.Context, name, nqn); err != nil {
				return err
			}
			return done(c, api.HostNQN{NQN: nqn}, "host %q is %s with NVMe", name, nqn)
		}),
		leaf("chap", "have an initiator prove who it is when it logs in", "NAME", "ashlar host chap web1 --secret-file /root/web1.chap", setCHAP,
			&cli.StringFlag{Name: "secret-file", Usage: "file with the host's secret of 12 to 16 bytes, or - for stdin"},
			&cli.StringFlag{Name: "mutual-secret-file", Usage: "file with another secret, which the cluster proves to know; its name is the cluster's"},
			&cli.BoolFlag{Name: "off", Usage: "nothing has to be proven any more"}),
		leaf("dhchap", "have an NVMe host prove who it is on each queue", "NAME", "ashlar host dhchap web1 --secret-file /root/web1.key", setDHCHAP,
			&cli.StringFlag{Name: "secret-file", Usage: "file with the host's secret, of nvme gen-dhchap-key, or - for stdin"},
			&cli.StringFlag{Name: "controller-secret-file", Usage: "file with another one, which the cluster proves to know"},
			&cli.BoolFlag{Name: "off", Usage: "nothing has to be proven any more"}),
		leaf("list", "all hosts", "", "ashlar host list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Hosts(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "There are no hosts; add one with: ashlar host add NAME IQN", table.Row{"host", "iqn", "chap", "nqn", "dhchap"},
				func(h api.Host) table.Row { return table.Row{h.Name, dash(h.IQN), h.CHAP, dash(h.NQN), h.DHCHAP} })
		}),
		leaf("sessions", "who is logged in, at which nodes", "", "ashlar host sessions", func(c *cli.Context, n *api.Client) error {
			all, err := n.Sessions(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "No host is logged in.", table.Row{"host", "protocol", "target", "node", "sessions", "name"},
				func(s api.Session) table.Row {
					return table.Row{dash(s.Host), s.Protocol, s.Target, s.Node, s.Sessions, s.Name}
				})
		}),
		leaf("delete", "forget an initiator", "NAME", "ashlar host delete web1", func(c *cli.Context, n *api.Client) error {
			name := c.Args().First()
			if err := n.DeleteHost(c.Context, name); err != nil {
				return err
			}
			return done(c, struct{}{}, "host %q is forgotten", name)
		}))
	g.Subcommands = append(g.Subcommands, disconnectCommand())
	g.Subcommands = append(g.Subcommands, hostsideCommands()...)
	return g
}

func exportCommand() *cli.Command {
	return group("export", "volumes published to hosts",
		leaf("add", "publish a volume to a host", "VOLUME HOST", "ashlar export add db web1", addExport,
			&cli.BoolFlag{Name: "read-only", Usage: "the host may not write"},
			&cli.UintFlag{Name: "lun", Usage: "its number at the cluster's target, beside the host's others there, instead of a target of its own"}),
		leaf("list", "which volume is published to which host", "", "ashlar export list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Exports(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "Nothing is published; publish with: ashlar export add VOLUME HOST", table.Row{"volume", "host", "target", "lun", "read-only", wide("subsystem"), wide("namespace")},
				func(e api.Export) table.Row {
					return table.Row{e.Volume, e.Host, e.IQN, lunOf(e), yes(e.ReadOnly), e.NQN, e.NSID}
				})
		}),
		leaf("delete", "take a volume back from a host", "VOLUME HOST", "ashlar export delete db web1", func(c *cli.Context, n *api.Client) error {
			volume, host := c.Args().Get(0), c.Args().Get(1)
			if err := n.DeleteExport(c.Context, volume, host); err != nil {
				return err
			}
			return done(c, struct{}{}, "volume %q is no longer published to host %q", volume, host)
		}))
}

func addExport(c *cli.Context, n *api.Client) error {
	e := api.Export{Volume: c.Args().Get(0), Host: c.Args().Get(1), ReadOnly: c.Bool("read-only")}
	if c.IsSet("lun") {
		if c.Uint("lun") > api.LUNMax {
			return misuse("--lun: a logical unit number is 0 to %d, not %d", api.LUNMax, c.Uint("lun"))
		}
		lun := uint16(c.Uint("lun"))
		e.LUN = &lun
	}
	if err := n.AddExport(c.Context, e); err != nil {
		return err
	}
	if e.LUN != nil {
		return done(c, e, "volume %q is published to host %q as LUN %d of the cluster's target", e.Volume, e.Host, *e.LUN)
	}
	return done(c, e, "volume %q is published to host %q", e.Volume, e.Host)
}

func lunOf(e api.Export) uint16 {
	if e.LUN != nil {
		return *e.LUN
	}
	return 0
}
