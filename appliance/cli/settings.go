package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"ashlar/appliance/api"
)

const settingNames = "rebuild-after-disk, rebuild-after-node, rebuild-floor, rebuild-ceiling, rebalance, scrub-light, scrub-deep, pool-warning"

func setCluster(c *cli.Context, n *api.Client) error {
	name, value := c.Args().Get(0), c.Args().Get(1)
	var in api.Settings
	var field *int
	most := 7 * 24 * time.Hour
	switch name {
	case "rebuild-after-disk":
		field = &in.RebuildAfterDisk
	case "rebuild-after-node":
		field = &in.RebuildAfterNode
	case "scrub-light":
		field, most = &in.ScrubLight, 365*24*time.Hour
	case "scrub-deep":
		field, most = &in.ScrubDeep, 365*24*time.Hour
	case "pool-warning":
		return setPoolWarning(c, n)
	case "rebuild-floor":
		return setSpeed(c, n, &in.RebuildFloor, &in)
	case "rebuild-ceiling":
		return setSpeed(c, n, &in.RebuildCeiling, &in)
	case "rebalance":
		if in.Rebalance = value; value != "on" && value != "off" {
			return misuse("%q is not on or off", value)
		}
		if err := n.SetCluster(c.Context, in); err != nil {
			return err
		}
		return done(c, in, "rebalance is %s now", value)
	default:
		u := misuse("the cluster has no setting %q; there are %s", name, settingNames)
		u.next = nearest(name, strings.Split(settingNames, ", "))
		return u
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < time.Second || d > most || d%time.Second != 0 {
		return misuse("%q is no time for %s: give whole seconds from 1s to %.0fh, like 30s or 10m", value, name, most.Hours())
	}
	*field = int(d / time.Second)
	if err := n.SetCluster(c.Context, in); err != nil {
		return err
	}
	return done(c, in, "%s is %v now", name, d)
}

// setPoolWarning sets per cent of the pool.
func setPoolWarning(c *cli.Context, n *api.Client) error {
	value := c.Args().Get(1)
	percent, err := strconv.Atoi(strings.TrimSuffix(value, "%"))
	if err != nil || percent < 1 || percent > 99 {
		return misuse("%q is no part of the pool: give per cent from 1 to 99, like 75", value)
	}
	in := api.Settings{PoolWarning: percent}
	if err := n.SetCluster(c.Context, in); err != nil {
		return err
	}
	return done(c, in, "ashlar status and ashlar pool status warn when %d %% of the pool are used", percent)
}

// setSpeed sets bytes per second, of each node.
func setSpeed(c *cli.Context, n *api.Client, field *uint64, in *api.Settings) (err error) {
	name := c.Args().Get(0)
	if *field, err = parseSize(name, c.Args().Get(1)); err != nil {
		return err
	}
	if *field < 1<<20 {
		return misuse("%q is too little for %s: give bytes per second, 1M or more, like 100M", c.Args().Get(1), name)
	}
	if err := n.SetCluster(c.Context, *in); err != nil {
		return err
	}
	return done(c, in, "%s is %s/s of each node now", name, formatSize(*field))
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
