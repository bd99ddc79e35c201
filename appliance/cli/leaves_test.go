package cli

import (
	"bytes"
	"context"
	"strings"

	"github.com/urfave/cli/v2"
)

// leaves are all commands that hold no others, by the words that call them.
func leaves(level []*cli.Command) map[string]*cli.Command {
	all := map[string]*cli.Command{}
	for _, c := range level {
		if len(c.Subcommands) == 0 {
			all[c.Name] = c
		}
		for path, leaf := range leaves(c.Subcommands) {
			all[c.Name+" "+path] = leaf
		}
	}
	return all
}

// here runs a command line in this process.
func here(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := Run(context.Background(), "test", append([]string{"ashlar"}, args...), strings.NewReader(stdin), &stdout, &stderr)
	return result{stdout.String(), stderr.String(), code}
}
