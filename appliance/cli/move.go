package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"ashlar/appliance/api"

	"github.com/urfave/cli/v2"
)

func setNode(c *cli.Context, n *api.Client) error {
	name := c.Args().First()
	if !c.IsSet("domain") {
		return misuse("nothing is to be set: give --domain LABEL")
	}
	in := api.NodeSettings{Domain: c.String("domain")}
	if err := n.SetNode(c.Context, name, in); err != nil {
		return err
	}
	if in.Domain == "" {
		return done(c, in, "node %q is a fault domain of its own", name)
	}
	return done(c, in, "node %q is in fault domain %q", name, in.Domain)
}

func removeNode(c *cli.Context, n *api.Client) error {
	name := c.Args().First()
	if err := n.RemoveNode(c.Context, name, c.Bool("dead")); err != nil {
		return err
	}
	return done(c, struct{}{}, "node %q is no part of the cluster any more; its folder and disks there can be wiped", name)
}

func drainDisk(c *cli.Context, n *api.Client) error {
	d, err := diskOf(c, n)
	if err != nil {
		return err
	}
	if err := n.DrainDisk(c.Context, d.ID); err != nil {
		return err
	}
	if d.Replicas == 0 {
		return done(c, d, "disk %s of node %q is empty and stays so; take it out with: ashlar disk remove %s", d.Path, d.Node, d.ID)
	}
	return done(c, d, "the copies on disk %s of node %q move away (%d); ashlar disk list shows how far that is", d.Path, d.Node, d.Replicas)
}

func undrainDisk(c *cli.Context, n *api.Client) error {
	d, err := diskOf(c, n)
	if err != nil {
		return err
	}
	if err := n.UndrainDisk(c.Context, d.ID); err != nil {
		return err
	}
	return done(c, d, "disk %s of node %q takes copies again", d.Path, d.Node)
}

func removeDisk(c *cli.Context, n *api.Client) error {
	d, err := diskOf(c, n)
	if err != nil {
		return err
	}
	if err := n.RemoveDisk(c.Context, d.ID, c.Bool("dead")); err != nil {
		return err
	}
	return done(c, d, "disk %s of node %q is not in the pool any more", d.Path, d.Node)
}

// idLeast is the least of a disk's identity that is taken for it, hex digits.
const idLeast = 4

// diskOf is the disk that a person means: by its identity or the beginning of it, as NODE:PATH, or by its
// path on the node that is asked, or on the only one with such a disk.
func diskOf(c *cli.Context, n *api.Client) (api.Disk, error) {
	ref := c.Args().First()
	all, err := n.Disks(c.Context)
	if err != nil {
		return api.Disk{}, err
	}
	self, err := n.Status(c.Context)
	if err != nil {
		return api.Disk{}, err
	}
	return findDisk(all, ref, self.Name)
}

func findDisk(all []api.Disk, ref, self string) (api.Disk, error) {
	path := ref
	if abs, err := filepath.Abs(ref); err == nil {
		path = abs
	}
	var mine, named []api.Disk
	for _, d := range all {
		switch {
		case d.ID == ref, d.Node+":"+d.Path == ref:
			return d, nil
		case d.Path == path && d.Node == self:
			mine = append(mine, d)
		case d.Path == path, len(ref) >= idLeast && strings.HasPrefix(d.ID, ref):
			named = append(named, d)
		}
	}
	switch {
	case len(mine) == 1:
		return mine[0], nil
	case len(mine)+len(named) > 1:
		return api.Disk{}, misuse("%q means several disks: say which by its identity (ashlar disk list)", ref)
	case len(named) == 1:
		return named[0], nil
	}
	p := &api.Problem{Code: "not-found", Detail: fmt.Sprintf("there is no disk %q", ref), Next: nearest(ref, diskNames(all))}
	if p.Next == "" {
		p.Next = "ashlar disk list shows all disks; name one by its identity, or as NODE:PATH"
	}
	return api.Disk{}, p
}

// diskNames are the names of disks that mean each of them alone.
func diskNames(all []api.Disk) (names []string) {
	for _, d := range all {
		names = append(names, d.Node+":"+d.Path, d.ID)
	}
	return names
}

// tellShared says which volumes' copies are not in fault domains of their own, for people.
func tellShared(c *cli.Context, all []api.Volume) {
	for _, v := range all {
		if v.Shared > 0 {
			fmt.Fprintf(c.App.Writer, "Volume %s: %d of %d segments have copies in one fault domain, and would lose them together; there are too few domains with disks, or the copies are about to move.\n",
				v.Name, v.Shared, v.Segments)
		}
	}
}

// tellEmptying says what is still to leave, for people.
func tellEmptying(c *cli.Context, all []api.Emptying) {
	for _, e := range all {
		switch {
		case e.Copies == 0:
			fmt.Fprintf(c.App.Writer, "Disk %s of node %s is drained.\n", e.Path, e.Node)
		case e.Stuck == 0:
			fmt.Fprintf(c.App.Writer, "Disk %s of node %s is being drained: %d copies are still there.\n", e.Path, e.Node, e.Copies)
		default:
			fmt.Fprintf(c.App.Writer, "Disk %s of node %s is being drained: %d copies are still there, and %d of them have no other place: add a disk on another node.\n",
				e.Path, e.Node, e.Copies, e.Stuck)
		}
	}
}
