package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ashlar/appliance/api"
	"ashlar/node"

	"github.com/urfave/cli/v2"
)

// DefaultDir is the folder of a node that was not told another.
const DefaultDir = "/var/lib/ashlar"

// Exit statuses.
const (
	failed  = 1 // the order could not be carried out
	misused = 2 // the command line makes no sense
)

// usageError is a command line that makes no sense.
type usageError struct{ text, next string }

func (e *usageError) Error() string { return e.text }

func misuse(format string, args ...any) *usageError {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// Run carries out a command line (args[0] is the program) and gives the exit
// status. more are commands that other packages add.
func Run(ctx context.Context, version string, args []string, stdin io.Reader, stdout, stderr io.Writer, more ...*cli.Command) int {
	app := newApp(version, more)
	if len(args) > 1 && args[1] == completeWord {
		return complete(ctx, app, args[2:], stdout)
	}
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	args, err := arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if err == nil {
		return 0
	}
	if status := (exitStatus)(0); errors.As(err, &status) {
		return int(status)
	}
	complain(stderr, err, formOf(args))
	if u := (*usageError)(nil); errors.As(err, &u) {
		return misused
	}
	return failed
}

func newApp(version string, more []*cli.Command) *cli.App {
	app := &cli.App{
		Name:            "ashlar",
		Usage:           "one elastic block store out of many servers",
		Version:         version,
		HideVersion:     true,
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return misuse("%v", err) },
		Commands: append([]*cli.Command{
			serveCommand(version), setupCommand(), versionCommand(version), statusCommand(), clusterCommand(), nodeCommand(),
			diskCommand(), poolCommand(), volumeCommand(), hostCommand(), exportCommand(), addressCommand(), whyCommand(), scrubCommand(), jobCommand(), eventsCommand(), supportCommand(version),
			tokenCommand(), tenantCommand(), auditCommand(), completionCommand(),
		}, more...),
	}
	prepare(app.Commands)
	plannable(app.Commands)
	return app
}

// prepare gives all commands what they have in common.
func prepare(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return misuse("%v", err) }
		checkForm(c)
		prepare(c.Subcommands)
	}
}

// complain is the one sentence, with what to do about it, or for machines the
// problem as the API gave it.
func complain(w io.Writer, err error, form string) {
	p := &api.Problem{Code: "failed", Detail: err.Error()}
	var u *usageError
	var n *node.Problem
	switch {
	case errors.As(err, &u):
		p.Code, p.Next = "usage", u.next
	case errors.As(err, &n):
		p.Code, p.Next = string(n.Code), n.Next
	default:
		errors.As(err, &p)
	}
	machine := struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
		Next   string `json:"next,omitempty"`
	}{p.Code, p.Detail, p.Next}
	switch form {
	case "json":
		json.NewEncoder(w).Encode(machine)
		return
	case "yaml":
		writeYAML(w, machine)
		return
	}
	text := strings.ReplaceAll(p.Detail, "\n", "; ")
	if p.Next != "" {
		text += " (" + p.Next + ")"
	}
	fmt.Fprintln(w, "ashlar: "+text)
}

// action is a command over the client of the node that --dir picks.
type action func(c *cli.Context, node *api.Client) error

// leaf is a command that gives orders to a node. Its arguments are the words of
// args, all required but those in brackets, which are last. Of a word that ends in "..." there may be more.
func leaf(name, usage, args, example string, do action, flags ...cli.Flag) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args,
		Description: "Example:\n   " + example,
		Flags:       append(append(flags, dirFlag(), outputFlag()), remoteFlags()...),
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, args); err != nil {
				return err
			}
			n, err := clientOf(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				n = n.DryRuns()
			}
			var plan *api.Plan
			if err = do(c, n); errors.As(err, &plan) {
				return showPlan(c, plan)
			}
			return err
		},
	}
}

func checkArguments(c *cli.Context, args string) error {
	words := strings.Fields(args)
	needed := len(words)
	if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '[' }); i >= 0 {
		needed = i
	}
	switch {
	case c.NArg() < needed:
		u := misuse("%s: %s is missing", commandPath(c), strings.Join(words[c.NArg():needed], " "))
		u.next = "usage: ashlar " + commandPath(c) + " " + args
		return u
	case c.NArg() > len(words) && !strings.HasSuffix(args, "..."):
		u := misuse("%s: %q is one argument too many", commandPath(c), c.Args().Get(len(words)))
		u.next = strings.TrimSpace("usage: ashlar " + commandPath(c) + " " + args)
		return u
	}
	return nil
}

func commandPath(c *cli.Context) string {
	return strings.TrimPrefix(c.Command.HelpName, "ashlar ")
}

// group is a command that only holds others.
func group(name, usage string, commands ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: commands}
}

func dirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", Value: DefaultDir, EnvVars: []string{"ASHLAR_DIR"}, Usage: "folder of the node"}
}
