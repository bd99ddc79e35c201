package cli

import (
	"errors"
	"fmt"
	"strings"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func releaseCommand() *cli.Command {
	return leaf("release", "form the cluster anew of this node, when the others are lost for ever; shows first what that means", "",
		"ashlar cluster release --accept-loss --confirm prod", release,
		&cli.BoolFlag{Name: "accept-loss", Usage: "do it, and give up all other nodes with what only they have"},
		&cli.StringFlag{Name: "confirm", Usage: "name of the cluster"},
		&cli.BoolFlag{Name: "accept-older", Usage: "go on although what this node has may be old"})
}

func release(c *cli.Context, n *api.Client) error {
	if !c.Bool("accept-loss") {
		return planRelease(c, n)
	}
	confirm := c.String("confirm")
	if confirm == "" {
		return misuse("a release has to be confirmed: --confirm NAME, with the name of the cluster")
	}
	r, err := n.Release(c.Context, api.ConfirmRelease{Confirm: confirm, AcceptOlder: c.Bool("accept-older")})
	if isStopped(err) {
		if r, err = api.OfflineRelease(c.String("dir"), confirm, c.Bool("accept-older")); err == nil {
			return done(c, r, "cluster %q will be formed anew of node %q when the node starts: ashlar serve", r.Cluster, r.Node)
		}
	}
	if err != nil {
		return err
	}
	return done(c, r, "cluster %q is formed anew of node %q, which starts over; gone for ever: %s", r.Cluster, r.Node, strings.Join(r.Expelled, ", "))
}

// isStopped says whether no daemon serves the folder.
func isStopped(err error) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Code == "no-daemon"
}

func planRelease(c *cli.Context, n *api.Client) error {
	r, err := n.PlanRelease(c.Context)
	if isStopped(err) {
		r, err = api.OfflineRelease(c.String("dir"), "", false)
	}
	if err != nil {
		return err
	}
	return show(c, r, func() {
		w := c.App.Writer
		fmt.Fprintf(w, "Cluster %q would be formed anew of node %q alone.\nExpelled for ever: %s. They are wiped and join anew, should they return.\n", r.Cluster, r.Node, strings.Join(r.Expelled, ", "))
		if r.Older {
			fmt.Fprintln(w, "THE OTHER VOTERS CAN HAVE GONE ON WITHOUT THIS NODE: what it has may be old, and what hosts wrote since would be lost.")
		}
		t := table.Row{"volume", "size", "segments", "lost", "writes"}
		list(c, r.Volumes, "There are no volumes.", t, func(v api.ReleasedVolume) table.Row {
			writes := "go on"
			if v.Waits || v.Lost == v.Segments {
				writes = "wait"
			}
			return table.Row{v.Name, formatSize(v.Size), v.Segments, v.Lost, writes}
		})
		command := "ashlar cluster release --accept-loss --confirm " + r.Cluster
		if r.Older {
			command += " --accept-older"
		}
		fmt.Fprintln(w, "Lost segments answer nothing any more, until their volume is deleted. To do it:\n   "+command)
	})
}

func resetCommand() *cli.Command {
	return leaf("reset", "have this node forget a cluster that was formed anew without it", "", "ashlar cluster reset --confirm prod",
		func(c *cli.Context, n *api.Client) error {
			if c.String("confirm") == "" {
				return misuse("a reset has to be confirmed: --confirm NAME, with the name of the cluster")
			}
			if err := n.ResetNode(c.Context, api.Confirm{Confirm: c.String("confirm")}); err != nil {
				return err
			}
			return done(c, struct{}{}, "this node belongs to no cluster now: have it join anew, and add its disks with --force")
		}, &cli.StringFlag{Name: "confirm", Usage: "name of the cluster"})
}
