package cli

import (
	"context"
	"embed"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

//go:embed completion/ashlar.*
var completionScripts embed.FS

var shells = []string{"bash", "zsh", "fish"}

// completionCommand prints what makes a shell complete command lines. The Debian package has bash's.
func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print what makes a shell complete commands, flags and names: " + strings.Join(shells, ", "), ArgsUsage: "SHELL",
		Description: "Example:\n   source <(ashlar completion bash)\n   ashlar completion zsh > ~/.zfunc/_ashlar\n   ashlar completion fish > ~/.config/fish/completions/ashlar.fish",
		Flags:       []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if err := checkArguments(c, "SHELL"); err != nil {
				return err
			}
			shell := c.Args().First()
			text, err := completionScripts.ReadFile("completion/ashlar." + shell)
			if err != nil {
				u := misuse("%q is no shell that is known here; there are %s", shell, strings.Join(shells, ", "))
				u.next = nearest(shell, shells)
				return u
			}
			return show(c, map[string]string{"script": string(text)}, func() { fmt.Fprint(c.App.Writer, string(text)) })
		},
	}
}

// completeWord is how the shells' scripts ask; people don't.
const completeWord = "__complete"

// completeMax bounds how long a node may take to tell names: somebody waits with a finger on the key.
const completeMax = 500 * time.Millisecond

// candidate is what a command line may go on with.
type candidate struct{ word, about string }

// complete prints what a command line may go on with, for a shell. Where there is nothing, the shell offers files.
func complete(ctx context.Context, app *cli.App, args []string, out io.Writer) int {
	if len(args) != 2 {
		return misused
	}
	shell, line := args[0], args[1]
	words := strings.Fields(line)
	if strings.HasSuffix(line, " ") {
		words = append(words, "")
	}
	if len(words) < 2 {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, completeMax)
	defer cancel()
	last := words[len(words)-1]
	for _, found := range candidates(ctx, app.Commands, words[1:]) {
		if strings.HasPrefix(found.word, last) {
			fmt.Fprintln(out, found.as(shell, last))
		}
	}
	return 0
}

// as is a candidate as a shell reads it.
func (f candidate) as(shell, last string) string {
	switch shell {
	case "bash": // it takes what stands before a colon for another word
		return f.word[strings.LastIndexAny(last, ":=")+1:]
	case "zsh":
		return strings.ReplaceAll(f.word, ":", `\:`) + ":" + f.about
	}
	return f.word + "\t" + f.about
}

// candidates are for the last of the words, which may be empty.
func candidates(ctx context.Context, level []*cli.Command, words []string) (all []candidate) {
	typed, last := words[:len(words)-1], words[len(words)-1]
	var command *cli.Command
	group := ""
	for len(typed) > 0 && len(level) > 0 {
		if command != nil {
			group = command.Name
		}
		if command = lookup(level, typed[0]); command == nil {
			return nil
		}
		typed, level = typed[1:], command.Subcommands
	}
	for _, c := range level {
		all = append(all, candidate{c.Name, c.Usage})
	}
	if len(level) > 0 || command == nil {
		return all
	}
	before, typedFlags, waiting := arguments(command, typed)
	if f, _, cut := strings.Cut(last, "="); cut {
		for _, v := range flagValues(strings.TrimLeft(f, "-")) {
			all = append(all, candidate{f + "=" + v.word, v.about})
		}
		return all
	}
	if waiting != "" {
		if waiting == "home" {
			return namesOf(ctx, typedFlags, "node", "NAME")
		}
		return flagValues(waiting)
	}
	if strings.HasPrefix(last, "-") {
		for _, f := range command.Flags {
			about := ""
			if d, ok := f.(cli.DocGenerationFlag); ok {
				about = d.GetUsage()
			}
			all = append(all, candidate{"--" + f.Names()[0], about})
		}
		return append(all, candidate{"--help", "what the command does"})
	}
	wanted := strings.Fields(command.ArgsUsage)
	if before >= len(wanted) {
		return nil
	}
	if makes := group + " " + command.Name; makes == "host add" || makes == "volume create" || makes == "cluster create" {
		return nil // the name of something that is not there yet
	}
	return namesOf(ctx, typedFlags, group, strings.Trim(wanted[before], "[]."))
}

// arguments are how many words of a command are no flags, the values of flags, and the flag whose value comes next.
func arguments(command *cli.Command, typed []string) (before int, flags map[string]string, waiting string) {
	flags = map[string]string{}
	for _, w := range typed {
		name, value, cut := strings.Cut(strings.TrimLeft(w, "-"), "=")
		switch {
		case waiting != "":
			flags[waiting] = w
			waiting = ""
		case !strings.HasPrefix(w, "-"):
			before++
		case cut:
			flags[name] = value
		default:
			f := flagNamed(command, name)
			if _, isBool := f.(*cli.BoolFlag); f != nil && !isBool {
				waiting = f.Names()[0]
			}
		}
	}
	return before, flags, waiting
}

// flagValues are those that a flag can have, where there are few.
func flagValues(flag string) (all []candidate) {
	if flag == "output" || flag == "o" {
		for _, f := range forms {
			all = append(all, candidate{f, ""})
		}
	}
	return all
}

// namesOf are the names that an argument can have, as the node that the flags name knows them.
func namesOf(ctx context.Context, flags map[string]string, group, argument string) (all []candidate) {
	n, err := asked(flags)
	if err != nil {
		return nil
	}
	if argument == "NAME" {
		argument = strings.ToUpper(group)
	}
	switch argument {
	case "SETTING":
		for _, s := range strings.Split(settingNames, ", ") {
			all = append(all, candidate{s, ""})
		}
	case "SHELL":
		for _, s := range shells {
			all = append(all, candidate{s, ""})
		}
	case "NODE":
		found, _ := n.Nodes(ctx)
		for _, x := range found {
			all = append(all, candidate{x.Name, nodeState(x)})
		}
	case "VOLUME":
		found, _ := n.Volumes(ctx)
		for _, x := range found {
			all = append(all, candidate{x.Name, formatSize(x.Size) + ", " + x.State})
		}
	case "HOST":
		found, _ := n.Hosts(ctx)
		for _, x := range found {
			all = append(all, candidate{x.Name, x.IQN})
		}
	case "DISK", "IDENTITY|PATH":
		found, _ := n.Disks(ctx)
		for _, x := range found {
			name := x.Node + ":" + x.Path
			if argument != "DISK" {
				name = x.ID
			}
			all = append(all, candidate{name, x.Path + " of " + x.Node + ", " + x.State})
		}
	case "ID":
		found, _ := n.Jobs(ctx)
		for _, x := range found {
			all = append(all, candidate{fmt.Sprint(x.ID), x.Kind + " of " + x.Volume + ", " + x.State})
		}
	case "ADDRESS":
		if group != "address" {
			return nil
		}
		found, _ := n.Addresses(ctx)
		for _, x := range found {
			all = append(all, candidate{x.Address, x.State})
		}
	}
	return all
}
