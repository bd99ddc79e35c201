package cli

import (
	"fmt"
	"strings"

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
			err = list(c, all, "There are no addresses that move; add one with: ashlar address add ADDRESS/LENGTH",
				table.Row{"address", "port", "nvme port", "subnet", "group", "home", "state", "holder"}, func(a api.Address) table.Row {
					return table.Row{a.Address, a.Port, a.NVMe, a.Fabric, a.Group, dash(a.Home), mood(c, a.State), dash(a.Holder)}
				})
			if err == nil && !forMachines(c) {
				tellDiscovery(c, all)
			}
			return err
		}),
		leaf("remove", "take an address out of use; its hosts are dropped", "ADDRESS", "ashlar address remove 10.1.0.101", func(c *cli.Context, n *api.Client) error {
			ip := c.Args().First()
			if err := n.DeleteAddress(c.Context, ip); err != nil {
				return err
			}
			return done(c, struct{}{}, "%s is no portal address any more", ip)
		}))
}

// tellDiscovery says which addresses hosts are to give to discovery, which answers with all portals.
func tellDiscovery(c *cli.Context, all []api.Address) {
	var iscsi, nvme []string
	for _, a := range all {
		iscsi = append(iscsi, fmt.Sprintf("%s:%d", a.Address, a.Port))
		if a.Finds != 0 {
			nvme = append(nvme, fmt.Sprintf("%s:%d", a.Address, a.Finds))
		}
	}
	if len(iscsi) == 0 {
		fmt.Fprintln(c.App.Writer, "Hosts can only give a node's own address to discovery, which does not answer while that node is down.")
		return
	}
	fmt.Fprintf(c.App.Writer, "Hosts give one of these on each of their fabrics to discovery, and it outlives any node: iSCSI %s", strings.Join(iscsi, ", "))
	if len(nvme) > 0 {
		fmt.Fprintf(c.App.Writer, "; NVMe/TCP %s", strings.Join(nvme, ", "))
	}
	fmt.Fprintln(c.App.Writer, ".")
}
