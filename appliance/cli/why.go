package cli

import (
	"fmt"
	"time"

	"ashlar/appliance/api"

	"github.com/urfave/cli/v2"
)

func whyCommand() *cli.Command {
	return leaf("why", "what makes a volume slow: a node, a disk, a link, a copy that is missing", "[VOLUME]", "ashlar why db", why,
		&cli.BoolFlag{Name: "watch", Usage: "tell again every 2 s"})
}

const watchEvery = 2 * time.Second

func why(c *cli.Context, n *api.Client) error {
	for {
		all, err := n.Why(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		if err := show(c, all, func() { tellWhy(c, all) }); err != nil || !c.Bool("watch") {
			return err
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(watchEvery):
			between(c)
		}
	}
}

func tellWhy(c *cli.Context, all []api.Why) {
	out := c.App.Writer
	if len(all) == 0 {
		fmt.Fprintln(out, "there are no volumes")
	}
	for _, w := range all {
		switch {
		case !w.Known:
			fmt.Fprintf(out, "%s: nobody told what its writes take\n", w.Volume)
		case w.Writes == 0:
			fmt.Fprintf(out, "%s: nobody wrote to it in the last minute\n", w.Volume)
		default:
			fmt.Fprintf(out, "%s: of %d writes in the last minute half took up to %s, 99 of 100 up to %s, the longest %s\n",
				w.Volume, w.Writes, milliseconds(w.P50), milliseconds(w.P99), milliseconds(w.Longest))
		}
		for _, r := range w.Reasons {
			fmt.Fprintf(out, "  %s\n", r.Text)
		}
		if len(w.Reasons) == 0 {
			fmt.Fprintln(out, "  Nothing of it is slower than its peers, and no copy is missing.")
		}
	}
}

func milliseconds(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}
