package cli

import (
	"fmt"

	"ashlar/appliance/hostside"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

// onHost is a command that runs on a host, and asks no node of this machine.
func onHost(name, usage, args, example string, do cli.ActionFunc, flags ...cli.Flag) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args, Description: "Example, on a host:\n   " + example,
		Flags: append(flags, outputFlag()),
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, args); err != nil {
				return err
			}
			return do(c)
		},
	}
}

func hostsideCommands() []*cli.Command {
	return []*cli.Command{
		onHost("check", "on a host: which of its initiators' settings would hurt", "", "ashlar host check", checkHost),
		onHost("settings", "on a host: multipath.conf and iscsid.conf as they suit volumes", "", "ashlar host settings", func(c *cli.Context) error {
			return show(c, map[string]string{"settings": hostside.Settings}, func() { fmt.Fprint(c.App.Writer, hostside.Settings) })
		}),
		onHost("connect", "on a host: discover a volume, log in on all paths, and wait for its disk", "VOLUME", "ashlar host connect db --portal 10.1.0.1", connectHost,
			&cli.StringFlag{Name: "portal", Usage: "address of any node; needed"},
			&cli.BoolFlag{Name: "nvme", Usage: "with NVMe/TCP instead of iSCSI"}),
	}
}

// check ends with status 1 where anything would hurt.
func checkHost(c *cli.Context) error {
	f := hostside.Look(c.Context, "/")
	found := hostside.Check(f)
	none := fmt.Sprintf("Nothing of %d sessions, %d multipath devices and %d controllers would hurt.", len(f.Sessions), len(f.Devices), len(f.Controllers))
	if len(f.Sessions)+len(f.Controllers) == 0 {
		none = "This host has no session and no controller; connect it, and check again."
	}
	err := list(c, found, none, table.Row{"where", "is", "want", "why", "fix"},
		func(n hostside.Finding) table.Row { return table.Row{n.Where, n.Is, n.Want, n.Why, n.Fix} })
	if err == nil && len(found) > 0 {
		return fmt.Errorf("settings that would hurt: %d", len(found))
	}
	return err
}

func connectHost(c *cli.Context) error {
	if c.String("portal") == "" {
		return misuse("host connect: which node is to be asked? give --portal ADDRESS")
	}
	connect := hostside.ConnectISCSI
	if c.Bool("nvme") {
		connect = hostside.ConnectNVMe
	}
	d, err := connect(c.Context, c.String("portal"), c.Args().First())
	if err != nil {
		return err
	}
	return done(c, d, "%s is %s, with paths through %d portals", c.Args().First(), d.Disk, len(d.Paths))
}
