package cli

import (
	"fmt"
	"slices"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

// planned are the commands that tell with --dry-run what they would come to.
var planned = []string{"volume create", "volume resize", "volume move-head", "volume delete", "export delete", "node drain", "node remove", "node set",
	"disk drain", "disk remove", "cluster set"}

// plannable gives these commands the flag.
func plannable(commands []*cli.Command) {
	for _, c := range commands {
		for _, s := range c.Subcommands {
			if slices.Contains(planned, c.Name+" "+s.Name) {
				s.Flags = append(s.Flags, &cli.BoolFlag{Name: "dry-run", Usage: "tell what would move, and what would be lost, and change nothing"})
			}
		}
	}
}

// showPlan prints what an order would come to; one that would be refused is an error.
func showPlan(c *cli.Context, p *api.Plan) error {
	if p.Refused != nil && !forMachines(c) {
		return &api.Problem{Code: p.Refused.Code, Detail: "it would be refused: " + p.Refused.Detail, Next: p.Refused.Next}
	}
	return show(c, p, func() {
		w := c.App.Writer
		if len(p.Moves)+len(p.Heads)+len(p.Hosts)+len(p.Weakened)+p.Stuck == 0 {
			fmt.Fprintln(w, "Nothing would move, and nothing would be lost.")
			return
		}
		if len(p.Moves) > 0 {
			t := newTable(c)
			t.AppendHeader(table.Row{"volume", "from", "to", "copies", "at most"})
			for _, m := range p.Moves {
				t.AppendRow(table.Row{m.Volume, place(m.From), place(m.To), m.Copies, formatSize(m.Bytes)})
			}
			t.Render()
			fmt.Fprintf(w, "Copies that would be made: %d, of %s at most.\n", p.Copies, formatSize(p.Bytes))
		}
		if p.More {
			fmt.Fprintln(w, "More would move than was looked ahead.")
		}
		for _, h := range p.Heads {
			fmt.Fprintf(w, "The head of volume %s would move from node %s to %s.\n", h.Volume, dash(h.From), dash(h.To))
		}
		for _, v := range p.Weakened {
			fmt.Fprintf(w, "Volume %s would be weaker until copies are made: segments with fewer copies: %d, with copies in one fault domain: %d, whose writes would wait: %d.\n",
				v.Volume, v.Fewer, v.Doubled, v.Waiting)
		}
		for _, h := range p.Hosts {
			if h.Path == "" {
				fmt.Fprintf(w, "Host %s would lose volume %s.\n", h.Host, h.Volume)
			} else {
				fmt.Fprintf(w, "Host %s would lose the path to volume %s through node %s.\n", h.Host, h.Volume, h.Path)
			}
		}
		if p.Stuck > 0 {
			fmt.Fprintf(w, "Copies that have no other place: %d; add a disk on another node.\n", p.Stuck)
		}
	})
}

func place(p api.Place) string {
	if p.Node == "" {
		return "-"
	}
	return p.Node + ":" + p.Disk
}
