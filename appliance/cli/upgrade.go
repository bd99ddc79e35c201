package cli

import (
	"fmt"
	"strings"
	"time"

	"ashlar/appliance/api"

	"github.com/urfave/cli/v2"
)

func upgradeCheckCommand() *cli.Command {
	return leaf("upgrade-check", "whether this node can be stopped for a moment now, as to upgrade it", "", "ashlar node upgrade-check --wait 2m", checkUpgrade,
		&cli.StringFlag{Name: "formats", Usage: "of the other release, as its `ashlar version --formats` says"},
		&cli.DurationFlag{Name: "wait", Usage: "how long to wait until it can"})
}

// checkUpgrade ends with status 1 where the node cannot be upgraded.
func checkUpgrade(c *cli.Context, n *api.Client) error {
	for deadline := time.Now().Add(c.Duration("wait")); ; {
		u, err := n.CheckUpgrade(c.Context, c.String("formats"))
		if again := err != nil || !u.Ready; again && time.Now().Before(deadline) {
			select {
			case <-time.After(500 * time.Millisecond):
				continue
			case <-c.Context.Done():
				return c.Context.Err()
			}
		}
		switch {
		case err != nil:
			return err
		case !u.Ready:
			return fmt.Errorf("node %q cannot be upgraded now: %s", u.Node, strings.Join(u.Why, "; "))
		}
		return done(c, u, "%s", strings.Join(append([]string{fmt.Sprintf("node %q can be upgraded now", u.Node)}, u.Notes...), "\n"))
	}
}
