package cli

import (
	"fmt"
	"time"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func verifyVolume(c *cli.Context, n *api.Client) error {
	j, err := n.StartVerify(c.Context, c.Args().First(), api.VerifyOrder{Repair: c.Bool("repair")})
	if err != nil {
		return err
	}
	if !c.Bool("wait") {
		return done(c, j, "job %d compares the copies of volume %q\nsee how far it is with: ashlar job show %d", j.ID, j.Volume, j.ID)
	}
	if j, err = awaitJob(c, n, j.ID); err != nil {
		return err
	}
	if j.Result != nil {
		if err := show(c, *j.Result, func() { verificationText(c, *j.Result) }); err != nil {
			return err
		}
	}
	return outcome(j)
}

func verificationText(c *cli.Context, v api.Verification) {
	for _, d := range v.Repairs {
		fmt.Fprintln(c.App.Writer, "repaired:", d)
	}
	for _, d := range v.Differences {
		fmt.Fprintln(c.App.Writer, d)
	}
	facts(c, table.Row{"volume", v.Volume}, table.Row{"copies equal", yes(v.Equal)}, table.Row{"copies of segments compared", v.Copies},
		table.Row{"blocks with data", v.Blocks}, table.Row{"blocks that differed", v.Differing}, table.Row{"repaired", v.Repaired},
		table.Row{"not compared", v.Skipped}, table.Row{"root hash", dash(v.Root)}, table.Row{"time", time.Duration(v.Seconds * float64(time.Second)).Round(10 * time.Millisecond)})
}

// differs is why copies are not known to be equal; nil where they are.
func differs(v api.Verification, repair bool) error {
	if v.Equal {
		return nil
	}
	p := &api.Problem{Code: "copies-differ"}
	switch left := v.Differing - v.Repaired; {
	case left > 0 && !repair:
		p.Detail = fmt.Sprintf("the copies of volume %q are not the same: differences: %d", v.Volume, left)
		p.Next = fmt.Sprintf("ashlar volume verify --repair %s makes equal what can be", v.Volume)
	case left > 0:
		p.Detail = fmt.Sprintf("the copies of volume %q are not the same, and which is right is not known: blocks: %d", v.Volume, left)
		p.Next = "have the hosts write these blocks anew, from a backup"
	default:
		p.Detail = fmt.Sprintf("of volume %q not all could be compared: a copy did not answer: blocks: %d", v.Volume, v.Skipped)
		p.Next = "ashlar status shows which node or disk is in the way"
	}
	return p
}

func showDisk(c *cli.Context, n *api.Client) error {
	d, err := n.Disk(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	return show(c, d, func() {
		facts(c, table.Row{"disk", d.Path}, table.Row{"identity", d.ID}, table.Row{"node", d.Node}, table.Row{"size", formatSize(d.Size)}, table.Row{"state", d.State},
			table.Row{"copies", d.Replicas}, table.Row{"bad in the last day", d.BadLately}, table.Row{"bad ever", d.BadEver})
		if len(d.Bad) == 0 {
			return
		}
		fmt.Fprintln(c.App.Writer)
		t := newTable(c)
		t.AppendHeader(table.Row{"found", "volume", "segment", "block"})
		for _, b := range d.Bad {
			t.AppendRow(table.Row{b.At.Local().Format(time.DateTime), dash(b.Volume), b.Segment, b.Block})
		}
		t.Render()
	})
}

func scrubCommand() *cli.Command {
	return group("scrub", "the comparing of all copies, that goes on by itself",
		leaf("status", "when copies were compared, what was found, and when they are next", "", "ashlar scrub status", func(c *cli.Context, n *api.Client) error {
			all, err := n.Scrubs(c.Context)
			if err != nil {
				return err
			}
			type row struct {
				volume, kind string
				r            api.ScrubRound
			}
			var rows []row
			for _, s := range all {
				rows = append(rows, row{s.Volume, "light", s.Light}, row{s.Volume, "deep", s.Deep})
			}
			return show(c, all, func() {
				if len(rows) == 0 {
					fmt.Fprintln(c.App.Writer, "There are no volumes.")
					return
				}
				t := newTable(c)
				t.AppendHeader(table.Row{"volume", "scrub", "last ended", "took", "differed", "repaired", "not compared", "next"})
				for _, x := range rows {
					took := "-"
					if x.r.Ended != nil {
						took = time.Duration(x.r.Seconds * float64(time.Second)).Round(time.Second).String()
					}
					next := when(x.r.Due)
					if x.r.Began != nil {
						next = fmt.Sprintf("%d %% done", x.r.Percent)
					}
					t.AppendRow(table.Row{x.volume, x.kind, when(x.r.Ended), took, x.r.Differing, x.r.Repaired, x.r.Skipped, next})
				}
				t.Render()
			})
		}))
}

func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}
