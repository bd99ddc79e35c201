package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func adoptCommand() *cli.Command {
	c := leaf("adopt", "form the cluster anew of its disks, when all nodes have lost what they agreed on; shows first what that means", "PATH...",
		"ashlar cluster adopt /dev/nvme0n1 --from node2.json --from node3.json --confirm prod", adopt,
		&cli.StringSliceFlag{Name: "from", Usage: "file with what `ashlar disk inspect PATH... -o json` printed on another node, once for each"},
		&cli.StringFlag{Name: "confirm", Usage: "do it: the name of the cluster"},
		&cli.BoolFlag{Name: "accept-loss", Usage: "go on although what was acknowledged to hosts may be lost"})
	c.Description = "PATH are the disks of this node, which must belong to no cluster (any more) and have the name that it had.\n" +
		"Without --confirm nothing is changed.\n\n" + c.Description
	return c
}

func adopt(c *cli.Context, n *api.Client) error {
	in := api.AdoptOrder{Confirm: c.String("confirm"), AcceptLoss: c.Bool("accept-loss")}
	var err error
	if in.Disks, err = absolute(c.Args().Slice()); err != nil {
		return err
	}
	if in.Reports, err = absolute(c.StringSlice("from")); err != nil {
		return err
	}
	if in.Confirm == "" {
		a, err := n.PlanAdopt(c.Context, in)
		if err != nil {
			return err
		}
		return show(c, a, func() { showAdoption(c, a) })
	}
	a, err := n.Adopt(c.Context, in)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("cluster %q is formed anew, with this node as %q", a.Cluster, a.Node)
	if len(a.Awaited) > 0 {
		text += fmt.Sprintf("; awaited: %s. There: ashlar cluster join, with the secret that `ashlar cluster secret` prints now", strings.Join(a.Awaited, ", "))
	}
	if len(a.Locked) > 0 {
		text += fmt.Sprintf("; locked out until `ashlar host chap` or `ashlar host dhchap` gives them new secrets: %s", strings.Join(a.Locked, ", "))
	}
	return done(c, a, "%s", text)
}

func absolute(paths []string) (out []string, err error) {
	for _, p := range paths {
		if p, err = filepath.Abs(p); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func showAdoption(c *cli.Context, a api.Adoption) {
	w := c.App.Writer
	fmt.Fprintf(w, "Cluster %q (%s) would be formed anew of the state of index %d, with this node as %q.\n", a.Cluster, a.ID, a.Index, a.Node)
	if len(a.Awaited) > 0 {
		fmt.Fprintf(w, "Nodes that would have to join anew, under their names and addresses: %s.\n", strings.Join(a.Awaited, ", "))
	}
	if a.Newer > 0 {
		fmt.Fprintf(w, "THERE IS A NEWER STATE, OF INDEX %d, THAT DID NOT FIT ON ITS DISK: what changed since would be lost.\n", a.Newer)
	}
	if a.Unknown > 0 {
		fmt.Fprintf(w, "%d COPIES ARE OF VOLUMES, OR PARTS OF THEM, THAT WERE MADE AFTER THAT STATE: they would be lost.\n", a.Unknown)
	}
	fmt.Fprintln(w)
	list(c, a.Disks, "", table.Row{"disk", "node", "identity", "would be", "why"}, func(d api.AdoptedDisk) table.Row {
		return table.Row{d.Path, dash(d.Node), d.ID, d.Fate, dash(d.Why)}
	})
	fmt.Fprintln(w)
	list(c, a.Volumes, "There are no volumes.", table.Row{"volume", "size", "segments", "may lack writes", "lost", "would be"}, func(v api.AdoptedVolume) table.Row {
		return table.Row{v.Name, formatSize(v.Size), v.Segments, v.Doubtful, v.Lost, v.State}
	})
	fmt.Fprintln(w)
	if len(a.Locked) > 0 {
		fmt.Fprintf(w, "The secrets of hosts are on no disk. Locked out until they are set again: %s.\n", strings.Join(a.Locked, ", "))
	}
	if a.Loses {
		fmt.Fprintln(w, "What hosts were told is written may be lost. Give the disks that are missing, if there is any way to.")
	}
	fmt.Fprintln(w, "No node may still have what was agreed on: two clusters would serve the same volumes. To do it, add:\n   "+adoptFlags(a))
}

func adoptFlags(a api.Adoption) string {
	if a.Loses {
		return "--accept-loss --confirm " + a.Cluster
	}
	return "--confirm " + a.Cluster
}

func inspectCommand() *cli.Command {
	return leaf("inspect", "what disks tell about themselves and their cluster; needs no daemon, and changes nothing", "PATH...", "ashlar disk inspect /dev/nvme0n1 -o json > node2.json",
		func(c *cli.Context, _ *api.Client) error {
			var all []api.FoundDisk
			for _, path := range c.Args().Slice() {
				f, err := api.InspectDisk(path)
				if err != nil {
					return err
				}
				all = append(all, f)
			}
			return list(c, all, "", table.Row{"disk", "cluster", "identity", "state of index", "copies", "remarks"}, func(f api.FoundDisk) table.Row {
				name, index := api.LabelOf(f)
				if name == "" {
					name = f.Cluster
				}
				return table.Row{f.Path, name, f.ID, index, len(f.Copies), dash(remarks(f))}
			})
		})
}

func remarks(f api.FoundDisk) string {
	var all []string
	if f.InUse {
		all = append(all, "in use: what it holds is not told")
	}
	if f.Decayed {
		all = append(all, "the label may not be the last one")
	}
	if f.Problem != "" {
		all = append(all, f.Problem)
	}
	return strings.Join(all, "; ")
}
