package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

const (
	jobLook       = 500 * time.Millisecond // between two looks at a job that is waited for
	progressEvery = 5 * time.Second        // how often that is told where nobody sees a bar
	barWidth      = 32
)

func jobCommand() *cli.Command {
	return group("job", "work on whole volumes, which outlives the node that it was ordered at",
		leaf("list", "jobs that go on, and the latest that have ended", "", "ashlar job list", func(c *cli.Context, n *api.Client) error {
			all, err := n.Jobs(c.Context)
			if err != nil {
				return err
			}
			return list(c, all, "There are no jobs.", table.Row{"job", "what", "volume", "state", "progress", "since", "ended", "by", wide("node")}, func(j api.Job) table.Row {
				return table.Row{j.ID, j.Kind, j.Volume, mood(c, j.State), fmt.Sprintf("%d %%", j.Percent), when(&j.Since), when(j.Ended), dash(j.By), dash(j.Node)}
			})
		}),
		leaf("show", "one job, how far it is, and what it found", "ID", "ashlar job show 7", onJob(func(c *cli.Context, n *api.Client, id uint64) error {
			j, err := n.Job(c.Context, id)
			if err != nil {
				return err
			}
			return showJob(c, j)
		})),
		leaf("wait", "wait until a job has ended", "ID", "ashlar job wait 7", onJob(func(c *cli.Context, n *api.Client, id uint64) error {
			j, err := awaitJob(c, n, id)
			if err != nil {
				return err
			}
			if err := showJob(c, j); err != nil {
				return err
			}
			return outcome(j)
		})),
		leaf("cancel", "end a job where it is", "ID", "ashlar job cancel 7", onJob(func(c *cli.Context, n *api.Client, id uint64) error {
			if err := n.CancelJob(c.Context, id); err != nil {
				return err
			}
			return done(c, struct{}{}, "job %d is cancelled", id)
		})))
}

// onJob is an action on the job whose number is the first argument.
func onJob(do func(c *cli.Context, n *api.Client, id uint64) error) action {
	return func(c *cli.Context, n *api.Client) error {
		id, err := strconv.ParseUint(c.Args().First(), 10, 64)
		if err != nil {
			u := misuse("%q is no job's number", c.Args().First())
			u.next = "ashlar job list shows them"
			return u
		}
		return do(c, n, id)
	}
}

func showJob(c *cli.Context, j api.Job) error {
	return show(c, j, func() {
		facts(c, table.Row{"job", j.ID}, table.Row{"what", j.Kind}, table.Row{"volume", j.Volume}, table.Row{"state", mood(c, j.State)},
			table.Row{"progress", fmt.Sprintf("%d %%, %d of %d segments", j.Percent, j.Segments, j.All)}, table.Row{"node", dash(j.Node)}, table.Row{"ordered by", dash(j.By)},
			table.Row{"since", when(&j.Since)}, table.Row{"ended", when(j.Ended)}, table.Row{"why it failed", dash(j.Problem)})
		if j.Result != nil {
			fmt.Fprintln(c.App.Writer)
			verificationText(c, *j.Result)
		}
	})
}

// outcome is why a job that has ended is not well.
func outcome(j api.Job) error {
	switch {
	case j.State == "failed":
		return &api.Problem{Code: "job-failed", Detail: fmt.Sprintf("job %d failed: %s", j.ID, j.Problem)}
	case j.State == "cancelled":
		return &api.Problem{Code: "job-cancelled", Detail: fmt.Sprintf("job %d was cancelled at %d %%", j.ID, j.Percent), Next: "order it anew: what it did is not gone on from"}
	case j.Result != nil:
		return differs(*j.Result, j.Kind == "repair")
	}
	return nil
}

// awaitJob waits until a job has ended. On the error output it says meanwhile how far it is: a bar on a terminal, else a line now and then.
func awaitJob(c *cli.Context, n *api.Client, id uint64) (api.Job, error) {
	out, seen := c.App.ErrWriter, isTerminal(c.App.ErrWriter)
	told, known := time.Now(), false
	for pause := jobLook / 16; ; pause = min(2*pause, jobLook) {
		j, err := n.Job(c.Context, id)
		if seen {
			fmt.Fprint(out, "\r\x1b[K")
		}
		if p, ok := err.(*api.Problem); ok && known {
			p.Next = fmt.Sprintf("the job goes on all the same: ashlar job wait %d waits for it, at any node", id)
		}
		if err != nil || j.State != "running" {
			return j, err
		}
		known = true
		switch {
		case seen:
			fmt.Fprintf(out, "job %d, %s of volume %q: %s", id, j.Kind, j.Volume, bar(j.Percent))
		case time.Since(told) >= progressEvery:
			told = time.Now()
			fmt.Fprintf(out, "volume %q: %d of %d segments compared\n", j.Volume, j.Segments, j.All)
		}
		select {
		case <-c.Context.Done():
			return j, c.Context.Err()
		case <-time.After(pause):
		}
	}
}

// bar is how far something is.
func bar(percent int) string {
	full := barWidth * percent / 100
	return fmt.Sprintf("[%s%s] %d %%", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), percent)
}

// isTerminal says whether somebody looks at it.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
