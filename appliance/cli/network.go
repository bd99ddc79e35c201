package cli

import (
	"fmt"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func checkCommand() *cli.Command {
	return leaf("check", "have all nodes look for addresses that cannot be reached, MTUs that differ, and addresses that others use, too", "", "ashlar cluster check", checkNetwork)
}

// checkNetwork ends with status 1 where anything is wrong.
func checkNetwork(c *cli.Context, n *api.Client) error {
	found, err := n.CheckNetwork(c.Context)
	if err != nil {
		return err
	}
	err = list(c, found, "All nodes reach each other's addresses with packets as long as their interfaces take, and nobody else uses them.",
		table.Row{"node", "kind", "what is wrong", "fix"}, func(f api.NetworkFinding) table.Row { return table.Row{f.Node, f.Kind, f.Text, f.Next} })
	if err == nil && len(found) > 0 {
		return fmt.Errorf("wrong with the network: %d", len(found))
	}
	return err
}
