package cli

import (
	"fmt"
	"strings"
	"time"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

// Exit statuses of `ashlar status --exit-code`, beside 0, failed and misused.
const (
	reduced = 3 // copies are missing, or somebody has to look at something
	stuck   = 4 // writes wait, or nobody knows
)

// exitStatus ends a command that has said all there is to say.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func statusCommand() *cli.Command {
	c := leaf("status", "is data safe, what is less than it should be, what is being done, and who has to look at what", "", "ashlar status --exit-code", status,
		&cli.BoolFlag{Name: "exit-code", Usage: "end with a status that says how it is"})
	c.Description += fmt.Sprintf("\n\nWith --exit-code: 0 all is well; %d no answer; %d a copy is missing, or somebody has to look at something; %d writes wait, or this node does not know.", failed, reduced, stuck)
	return c
}

// nodeHealth is what a node says of itself, and of its cluster where it is in one.
type nodeHealth struct {
	api.Status
	Health *api.Health `json:"health,omitempty"`
}

func status(c *cli.Context, n *api.Client) error {
	s, err := n.Status(c.Context)
	if err != nil {
		return err
	}
	all := nodeHealth{Status: s}
	if s.Cluster != "" {
		h, err := n.Health(c.Context)
		if err != nil {
			h = api.Health{Data: "unknown", Why: []string{"This node cannot tell: " + err.Error() + "."}, Doing: []api.Doing{}, Attention: []string{}}
		}
		all.Health = &h
	}
	if err := show(c, all, func() { tellStatus(c, all) }); err != nil || !c.Bool("exit-code") {
		return err
	}
	return worst(all)
}

// worst is nil where all is well.
func worst(all nodeHealth) error {
	switch h := all.Health; {
	case h == nil:
	case h.Data == "waiting" || h.Data == "unknown":
		return exitStatus(stuck)
	case h.Data != "safe" || len(h.Why) > 0 || len(h.Attention) > 0:
		return exitStatus(reduced)
	}
	if all.State == "waiting" {
		return exitStatus(stuck)
	}
	return nil
}

// verdicts are what the words for the state of data mean.
var verdicts = map[string]string{
	"safe":    "all copies of all volumes are in sync",
	"reduced": "all that was acknowledged is there, in fewer copies than there should be",
	"waiting": "what was acknowledged is kept, and writes to some volumes wait",
	"unknown": "this node does not know",
}

func tellStatus(c *cli.Context, s nodeHealth) {
	node := s.Name + ", " + mood(c, s.State)
	if s.Witness {
		node += ", witness"
	}
	rows := []table.Row{{"node", node}}
	if h := s.Health; h != nil {
		rows = append(rows, table.Row{"cluster", fmt.Sprintf("%s, leader %s", s.Cluster, dash(s.Leader))}, table.Row{"data", mood(c, h.Data) + ": " + verdicts[h.Data]})
	} else {
		rows = append(rows, table.Row{"cluster", "none yet; make one with: ashlar cluster create, or join one with: ashlar cluster join"})
	}
	if c.String("output") == "wide" {
		rows = append(rows, table.Row{"number", s.ID}, table.Row{"incarnation", s.Incarnation}, table.Row{"peer address", s.Peer}, table.Row{"portals", dash(strings.Join(s.Portals, " "))},
			table.Row{"nvme portals", dash(strings.Join(s.NVMe, " "))}, table.Row{"folder", s.Folder}, table.Row{"version", s.Version})
	}
	facts(c, rows...)
	if s.Refused != "" {
		fmt.Fprintf(c.App.Writer, "\nWhat to do: %s.\n", s.Refused)
		return
	}
	if s.Health == nil {
		return
	}
	tell := func(head string, sentences []string) {
		if len(sentences) > 0 {
			fmt.Fprintf(c.App.Writer, "\n%s\n", head)
		}
		for _, x := range sentences {
			fmt.Fprintln(c.App.Writer, "  "+x)
		}
	}
	var doing []string
	for _, d := range s.Health.Doing {
		if d.Until != nil {
			d.Text += fmt.Sprintf(" At most %s are left: until %s at the latest, at the pace of now.", formatSize(d.Bytes), d.Until.Local().Format(time.DateTime))
		}
		doing = append(doing, d.Text)
	}
	tell("Less than it should be:", s.Health.Why)
	tell("Being done:", doing)
	tell("To be looked at:", s.Health.Attention)
	if len(s.Health.Why)+len(doing)+len(s.Health.Attention) == 0 {
		fmt.Fprintln(c.App.Writer, "\nThere is nothing to do. Details: ashlar cluster status")
	} else {
		fmt.Fprintln(c.App.Writer, "\nDetails: ashlar cluster status, ashlar why")
	}
}
