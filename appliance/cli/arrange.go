package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// arrange puts each command's flags before its arguments, since the parser takes
// everything after the first argument for arguments; and it refuses commands
// and flags that there are not, with the nearest that there is.
func arrange(app *cli.App, args []string) ([]string, error) {
	level, path := app.Commands, args[:1:1]
	for i, word := range args[1:] {
		if strings.HasPrefix(word, "-") {
			if word != "-h" && word != "--help" {
				return args, unknown("flag", word, commandLine(path), []string{"--help"})
			}
			return append(path, word), nil
		}
		command := lookup(level, word)
		if command == nil {
			return args, unknown("command", word, commandLine(path), names(level))
		}
		path = append(path, word)
		if len(command.Subcommands) == 0 {
			rest, err := flagsFirst(command, commandLine(path), args[i+2:])
			return append(path, rest...), err
		}
		level = command.Subcommands
	}
	return args, nil
}

// commandLine is the path of commands as a person would write it.
func commandLine(path []string) string {
	return strings.Join(append([]string{"ashlar"}, path[1:]...), " ")
}

func flagsFirst(command *cli.Command, path string, args []string) ([]string, error) {
	var flags, words []string
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case word == "--":
			words = append(words, args[i+1:]...)
			i = len(args)
		case word == "-" || !strings.HasPrefix(word, "-"):
			words = append(words, word)
		case word == "-h" || word == "--help":
			return []string{word}, nil
		default:
			name, _, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
			f := flagNamed(command, name)
			if f == nil {
				return args, unknown("flag", word, path, flagNames(command))
			}
			flags = append(flags, word)
			if _, isBool := f.(*cli.BoolFlag); isBool || hasValue {
				continue
			}
			if i++; i == len(args) {
				return args, misuse("the flag %s needs a value", word)
			}
			flags = append(flags, args[i])
		}
	}
	return append(append(flags, "--"), words...), nil
}

func lookup(level []*cli.Command, name string) *cli.Command {
	for _, c := range level {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func names(level []*cli.Command) (all []string) {
	for _, c := range level {
		all = append(all, c.Name)
	}
	return all
}

func flagNamed(command *cli.Command, name string) cli.Flag {
	for _, f := range command.Flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

func flagNames(command *cli.Command) (all []string) {
	for _, f := range command.Flags {
		all = append(all, "--"+f.Names()[0])
	}
	return all
}

// unknown refuses a word of the command line.
func unknown(what, word, path string, known []string) error {
	u := misuse("%s has no %s %q", path, what, word)
	if u.next = nearest(word, known); u.next == "" {
		u.next = "see: " + path + " --help"
	}
	return u
}

// nearest asks for the known word that is most like another one; it is empty where none is.
func nearest(word string, known []string) (question string) {
	const likeness = 0.75 // Jaro-Winkler: 1 is the same, 0 has nothing in common
	most := likeness
	for _, k := range known {
		// Flags have their dashes in common, which says nothing.
		if score := smetrics.JaroWinkler(strings.TrimLeft(word, "-"), strings.TrimLeft(k, "-"), 0.7, 4); score > most {
			most, question = score, `did you mean "`+k+`"?`
		}
	}
	return question
}

// formOf says in which form to complain, also of a command line that could not be parsed.
func formOf(args []string) string {
	for i, a := range args {
		flag, form, whole := strings.Cut(a, "=")
		switch {
		case flag != "-o" && flag != "--output" && flag != "-output":
		case whole:
			return form
		case i+1 < len(args):
			return args[i+1]
		}
	}
	return forms[0]
}
