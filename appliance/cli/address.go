package cli

import (
	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func addressCommand() *cli.Command {
	return group("address", "portal addresses that move to another node when theirs is gone",
		leaf("add", "serve one more address, at the nodes that are on its subnet", "ADDRESS/LENGTH", "ashlar address add 10.1.0.101/24 --home node1",
			func(c *cli.Context, n *api.Client) error {
				a, err := n.AddAddress(c.Context, api.NewAddress{Address: c.Args().First(), Home: c.String("home")})
				if err != nil {
					return err
				}
				return done(c, a, "hosts find portal %s:%d once a node holds it, with portal group tag %d\nashlar address list tells who does", a.Address, a.Port, a.Group)
			},
			&cli.StringFlag{Name: "home", Usage: "node where it belongs, and where it returns"}),
		leaf("list", "all addresses, and who holds them", "", "ashlar address list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Addresses(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "There are no addresses that move; add one with: ashlar address add ADDRESS/LENGTH",
				table.Row{"address", "port", "nvme port", "subnet", "group", "home", "state", "holder"}, func(a api.Address) table.Row {
					return table.Row{a.Address, a.Port, a.NVMe, a.Fabric, a.Group, dash(a.Home), mood(c, a.State), dash(a.Holder)}
				})
		}),
		leaf("remove", "take an address out of use; its hosts are dropped", "ADDRESS", "ashlar address remove 10.1.0.101", func(c *cli.Context, n *api.Client) error {
			ip := c.Args().First()
			if err := n.DeleteAddress(c.Context, ip); err != nil {
				return err
			}
			return done(c, struct{}{}, "%s is no portal address any more", ip)
		}))
}
