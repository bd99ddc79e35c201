package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

// eventsShown is how many of the latest events are shown to who names no other number.
const eventsShown = 50

func eventsCommand() *cli.Command {
	return leaf("events", "what happened in the cluster, and what happens", "", "ashlar events --follow", showEvents,
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens, one line each"},
		&cli.StringFlag{Name: "since", Usage: "an event's identity: what happened after it"},
		&cli.IntFlag{Name: "limit", Usage: fmt.Sprintf("how many at most, the latest of them or the first after --since (default: %d, after --since 1000)", eventsShown)})
}

func showEvents(c *cli.Context, n *api.Client) error {
	asked := api.EventsAsked{Since: c.String("since"), Limit: c.Int("limit")}
	if c.IsSet("limit") && (asked.Limit < 1 || asked.Limit > 10_000) {
		return misuse("--limit: 1 to 10000 events can be asked for, not %d", asked.Limit)
	}
	if asked.Limit == 0 && asked.Since == "" {
		asked.Limit = eventsShown
	}
	all, err := n.Events(c.Context, asked)
	if err != nil {
		return err
	}
	if c.Bool("follow") {
		return followEvents(c, n, all)
	}
	return show(c, all, func() {
		if all.Missing {
			tellMissing(c)
		}
		if len(all.Events) == 0 {
			fmt.Fprintln(c.App.Writer, "Nothing happened.")
			return
		}
		t := newTable(c)
		t.AppendHeader(table.Row{"event", "time", "", "what happened"})
		for _, e := range all.Events {
			t.AppendRow(table.Row{e.ID, e.At.Local().Format(time.DateTime), mark(e), e.Text})
		}
		t.Render()
	})
}

// followEvents prints the events that there are, and then what happens, one line each; JSON, too.
func followEvents(c *cli.Context, n *api.Client, all api.Events) error {
	tell := func(e api.Event, err error) error {
		switch {
		case errors.Is(err, api.ErrMissing):
			tellMissing(c)
		case forMachines(c):
			return json.NewEncoder(c.App.Writer).Encode(e)
		default:
			_, err = fmt.Fprintf(c.App.Writer, "%-10s %s %1s %s\n", e.ID, e.At.Local().Format(time.DateTime), mark(e), e.Text)
			return err
		}
		return nil
	}
	if all.Missing {
		tellMissing(c)
	}
	for _, e := range all.Events {
		if err := tell(e, nil); err != nil {
			return err
		}
	}
	return n.WatchEvents(c.Context, all.Last, tell)
}

// tellMissing is said on the error output, so that what machines read has events only.
func tellMissing(c *cli.Context) {
	fmt.Fprintln(c.App.ErrWriter, "More happened than this node keeps: these are not all events since then.")
}

func mark(e api.Event) string {
	if e.Warning {
		return "!"
	}
	return ""
}
