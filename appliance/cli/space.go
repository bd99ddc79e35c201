package cli

import (
	"fmt"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func poolCommand() *cli.Command {
	return group("pool", "the room on all disks",
		leaf("status", "how much room there is, and who uses it", "", "ashlar pool status", poolStatus))
}

func poolStatus(c *cli.Context, n *api.Client) error {
	p, err := n.Pool(c.Context)
	if err != nil {
		return err
	}
	return show(c, p, func() {
		facts(c, table.Row{"level", mood(c, p.Level)}, table.Row{"size", formatSize(p.Size)}, table.Row{"used", formatSize(p.Used), percent(p.Used, p.Size)}, table.Row{"free", formatSize(p.Free)},
			table.Row{"volumes", formatSize(p.Volumes)}, table.Row{"provisioned", formatSize(p.Provisioned), percent(p.Provisioned, p.Size)})
		fmt.Fprintln(c.App.Writer)
		t := newTable(c)
		t.AppendHeader(table.Row{"node", "disk", "state", "size", "used", "", "free"})
		for _, n := range p.Nodes {
			for _, d := range p.Disks {
				if d.Node == n.Node {
					t.AppendRow(table.Row{d.Node, d.Path, d.State, formatSize(d.Size), formatSize(d.Used), percent(d.Used, d.Size), formatSize(d.Free)})
				}
			}
			t.AppendRow(table.Row{n.Node, "all", "", formatSize(n.Size), formatSize(n.Used), percent(n.Used, n.Size), formatSize(n.Free)})
		}
		t.Render()
		for _, w := range p.Warnings {
			fmt.Fprintf(c.App.Writer, "\nwarning: %s\n", w)
		}
	})
}

func percent(part, all uint64) string {
	if all == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(all))
}
