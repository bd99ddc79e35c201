package cli

import (
	"fmt"
	"strings"

	"ashlar/appliance/api"

	"github.com/urfave/cli/v2"
)

func disconnectCommand() *cli.Command {
	return leaf("disconnect", "end a host's sessions; it may log in again", "HOST", "ashlar host disconnect web1 --node node2", disconnect,
		&cli.StringFlag{Name: "volume", Usage: "only the sessions that are this volume's alone"},
		&cli.StringFlag{Name: "node", Usage: "only those at this node"})
}

func disconnect(c *cli.Context, n *api.Client) error {
	host := c.Args().First()
	d, err := n.Disconnect(c.Context, host, c.String("volume"), c.String("node"))
	if err != nil {
		return err
	}
	text := fmt.Sprintf("host %q was not logged in there", host)
	if d.Sessions > 0 {
		text = fmt.Sprintf("sessions of host %q that were ended: %d, at %s; it may log in again, and most hosts do by themselves at once: "+
			"ashlar export delete takes a volume back from it for good", host, d.Sessions, strings.Join(d.Nodes, ", "))
	}
	if d.Left > 0 {
		text += fmt.Sprintf("\nof these %d still end: what the host had sent may still be carried out, for a few seconds", d.Left)
	}
	if err := done(c, d, "%s", text); err != nil || len(d.Silent) == 0 {
		return err
	}
	return &api.Problem{Code: "unreachable", Detail: "these nodes did not answer, and sessions there are as they were: " + strings.Join(d.Silent, ", "), Next: "ashlar status"}
}
